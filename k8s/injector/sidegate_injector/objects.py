"""Parts of JSON objects whose shape nobody has checked yet. Pure."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from sidegate_injector.errors import Refused

Object: TypeAlias = dict[str, Any]


def as_object(value: object, where: str) -> Object:
    """The value, which must be an object as JSON has them: YAML has other keys too. Raises Refused, naming it."""
    if not isinstance(value, dict):
        raise Refused(f"{where} is not an object")
    members = cast("dict[object, object]", value)
    if not all(isinstance(key, str) for key in members):
        raise Refused(f"{where} has a key that is no text; put it in quotes")
    return cast("Object", members)


def object_in(parent: Mapping[str, object], key: str, where: str) -> Object:
    """The object under a key; empty where there is none. Raises Refused."""
    value = parent.get(key)
    return {} if value is None else as_object(value, f"{where}.{key}")


def objects_in(parent: Mapping[str, object], key: str, where: str) -> list[Object]:
    """The list of objects under a key; empty where there is none. Raises Refused."""
    value = parent.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refused(f"{where}.{key} is not a list")
    items = cast("list[object]", value)
    return [as_object(item, f"{where}.{key}[{position}]") for position, item in enumerate(items)]
