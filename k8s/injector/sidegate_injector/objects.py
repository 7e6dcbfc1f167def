"""Parts of JSON objects whose shape nobody has checked yet. Pure."""

from collections.abc import Mapping
from typing import Any, TypeAlias, cast

from sidegate_injector.errors import Refused

Object: TypeAlias = dict[str, Any]


def as_object(value: object, where: str) -> Object:
    """The value, which must be an object. Raises Refused, naming it by `where`."""
    if not isinstance(value, dict):
        raise Refused(f"{where} is not an object")
    return cast("Object", value)


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
