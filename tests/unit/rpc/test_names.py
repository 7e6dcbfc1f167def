"""The names of the model and those of the protos are one contract. Both ways: nothing lacks its counterpart."""

import ast
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest
import sidegate_sidecar
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from sidegate.v1 import errors_pb2, revocation_pb2, session_pb2, verification_pb2
from sidegate_sidecar import errors, model

ENUMS: list[tuple[type[Enum], ModuleType, str]] = [
    (model.Reason, session_pb2, "RejectionReason"),
    (model.NextAction, session_pb2, "NextAction"),
    (model.Source, session_pb2, "EvidenceSource"),
    (model.StoreState, verification_pb2, "StoreState"),
    (model.RevocationKind, revocation_pb2, "RevocationKind"),
]


def names_of(module: ModuleType, enum: str) -> set[str]:
    """The names of a proto enum without their prefix, but for UNSPECIFIED."""
    wrapper: EnumTypeWrapper = getattr(module, enum)
    prefix = "".join(f"_{char}" if char.isupper() else char.upper() for char in enum).removeprefix("_") + "_"
    assert wrapper.Name(0) == f"{prefix}UNSPECIFIED"
    names = set(wrapper.keys())
    assert all(name.startswith(prefix) for name in names)
    return {name.removeprefix(prefix) for name in names} - {"UNSPECIFIED"}


@pytest.mark.parametrize(("of_the_model", "module", "enum"), ENUMS, ids=[enum for _, _, enum in ENUMS])
def test_model_and_proto_have_the_same_names(of_the_model: type[Enum], module: ModuleType, enum: str) -> None:
    assert {member.name for member in of_the_model} == names_of(module, enum)


def undecided(kind: type[errors.Undecided] = errors.Undecided) -> Iterable[type[errors.Undecided]]:
    for each in kind.__subclasses__():
        yield each
        yield from undecided(each)


@pytest.mark.parametrize("kind", list(undecided()))
def test_every_way_of_not_knowing_has_a_published_reason(kind: type[errors.Undecided]) -> None:
    assert kind.reason in names_of(errors_pb2, "ErrorReason")


def reasons_written() -> set[str]:
    """Every constant that the sidecar's code passes as `reason` to an exception or a status."""
    calls = (
        node
        for path in Path(sidegate_sidecar.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    )
    return {
        keyword.value.value
        for call in calls
        for keyword in call.keywords
        if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant) and isinstance(keyword.value.value, str)
    }


def test_every_reason_that_the_code_names_is_published() -> None:
    written = reasons_written()

    assert {"UNKNOWN_ISSUER", "NOT_SUPPORTED", "STORE_NOT_CONFIGURED"} <= written  # it finds them
    assert written - {""} <= names_of(errors_pb2, "ErrorReason")


def test_no_two_ways_of_not_knowing_share_a_reason() -> None:
    reasons = [kind.reason for kind in undecided()]

    assert len(set(reasons)) == len(reasons)
