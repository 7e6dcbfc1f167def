"""The difference, applied by another's implementation of RFC 6902, gives what it was the difference to."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sidegate_injector.json_patch import difference

from tests.unit.k8s.pods import patched

UNHURRIED = settings(deadline=None)  # no test of ours judges by the clock

keys = st.sampled_from(["a", "b", "a/b", "~", "~1", "", "name", "mountPath"]) | st.text(max_size=3)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)
named = st.fixed_dictionaries({"name": st.sampled_from("abcdef")}, optional={"env": st.lists(st.integers(0, 2))})


@UNHURRIED
@given(documents, documents)
def test_any_two_documents(before: Any, after: Any) -> None:
    assert patched({"x": before}, list(difference({"x": before}, {"x": after}))) == {"x": after}


@UNHURRIED
@given(st.lists(named, max_size=5), st.lists(named, max_size=5))
def test_lists_of_named_objects(before: list[Any], after: list[Any]) -> None:
    assert patched({"x": before}, list(difference({"x": before}, {"x": after}))) == {"x": after}


def test_true_is_not_one() -> None:
    assert list(difference({"x": 1}, {"x": True})) == [{"op": "replace", "path": "/x", "value": True}]


def test_equal_documents_do_not_differ() -> None:
    assert list(difference({"x": [{"name": "a"}]}, {"x": [{"name": "a"}]})) == []


def test_an_insertion_is_one_operation() -> None:
    empty: list[int] = []
    before = {"c": [{"name": "a", "env": empty}]}
    after = {"c": [{"name": "s"}, {"name": "a", "env": [1]}]}

    assert list(difference(before, after)) == [
        {"op": "add", "path": "/c/0", "value": {"name": "s"}},
        {"op": "add", "path": "/c/1/env/0", "value": 1},
    ]


def test_a_member_whose_name_has_slashes_is_found() -> None:
    assert list(difference({}, {"a/b~c": 1})) == [{"op": "add", "path": "/a~1b~0c", "value": 1}]
