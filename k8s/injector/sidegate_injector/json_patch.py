"""The difference between two JSON documents as a JSON patch (RFC 6902). Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

Operation: TypeAlias = dict[str, Any]


def difference(before: object, after: object, path: str = "") -> Iterator[Operation]:
    """The operations that turn `before` into `after`, in the order in which they apply.

    What both share as the same object is not looked into. Items of lists are matched by their `name` or, for mounts,
    `mountPath`, so that an insertion does not read as a change of everything behind it.

    Args:
        path: Where both are, as a JSON pointer (RFC 6901).
    """
    if before is after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        yield from _between_objects(cast("dict[str, Any]", before), cast("dict[str, Any]", after), path)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _between_lists(cast("list[object]", before), cast("list[object]", after), path)
    elif before != after or isinstance(before, bool) is not isinstance(after, bool):  # True == 1
        yield {"op": "replace", "path": path, "value": after}


def _between_objects(before: Mapping[str, object], after: Mapping[str, object], path: str) -> Iterator[Operation]:
    for key in before:
        if key not in after:
            yield {"op": "remove", "path": _below(path, key)}
    for key, value in after.items():
        if key in before:
            yield from difference(before[key], value, _below(path, key))
        else:
            yield {"op": "add", "path": _below(path, key), "value": value}


def _between_lists(before: Sequence[object], after: Sequence[object], path: str) -> Iterator[Operation]:
    names = [_name(item) for item in before]
    positions = _positions(names, [_name(item) for item in after])
    if positions is None:
        yield {"op": "replace", "path": path, "value": after}
        return
    for position, item in enumerate(after):
        if position in positions:
            yield from difference(before[positions[position]], item, f"{path}/{position}")
        else:
            yield {"op": "add", "path": f"{path}/{position}", "value": item}


def _positions(before: Sequence[object], after: Sequence[object]) -> dict[int, int] | None:
    """Where each item of `after` was, if nothing was removed or moved. None: something was."""
    positions: dict[int, int] = {}
    for position, name in enumerate(after):
        if len(positions) < len(before) and name == before[len(positions)]:
            positions[position] = len(positions)
    return positions if len(positions) == len(before) else None


def _name(item: object) -> object:
    """What tells an item from its neighbours. One without a name stands for itself."""
    if not isinstance(item, dict):
        return item
    members = cast("dict[str, object]", item)
    return members.get("mountPath", members.get("name"))


def _below(path: str, key: str) -> str:
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
