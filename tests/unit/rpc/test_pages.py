"""Page tokens: they lead on where the page ended, in that listing alone."""

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sidegate_sidecar.errors import InvalidRequest
from sidegate_sidecar.rpc.pages import MAX_CURSOR_BYTES, cursor_from, page_token_for

scopes = st.lists(st.text(), max_size=4).map(tuple)
cursors = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1).filter(
    lambda cursor: len(cursor.encode()) <= MAX_CURSOR_BYTES
)


def is_refused(page_token: str, *scope: str) -> bool:
    with pytest.raises(InvalidRequest) as refused:
        cursor_from(page_token, *scope)
    return (refused.value.reason, refused.value.metadata) == ("INVALID_PAGE_TOKEN", {"field": "page_token"})


def test_no_token_is_the_first_page() -> None:
    assert cursor_from("", "sessions") is None


@given(cursors, scopes)
@example("🙂" * (MAX_CURSOR_BYTES // 4), ())
def test_a_token_leads_on_where_the_page_ended(cursor: str, scope: tuple[str, ...]) -> None:
    assert cursor_from(page_token_for(cursor, *scope), *scope) == cursor


@given(cursors, scopes, scopes)
@example("1", ("sessions", "i", "ada"), ("sessions", "i", "eve"))
@example("1", ("sessions", "", ""), ("revocations", "", ""))
@example("1", ("ab", "c"), ("a", "bc"))
@example("1", ("a",), ("a", ""))
def test_a_token_is_good_for_its_own_listing_alone(cursor: str, scope: tuple[str, ...], other: tuple[str, ...]) -> None:
    token = page_token_for(cursor, *scope)

    assert scope == other or is_refused(token, *other)


@given(st.text(min_size=1) | st.text("ABab01-_=+/", min_size=1), scopes)
@example("A", ())
@example("=" * 100, ())
@example("AAAAAAAAAAA", ())
@example(base64.urlsafe_b64encode(bytes(9)).decode(), ("sessions",))
def test_junk_is_refused(junk: str, scope: tuple[str, ...]) -> None:
    assert is_refused(junk, *scope)


@pytest.mark.parametrize(
    "cursor",
    [
        pytest.param("", id="nothing"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("x" * (MAX_CURSOR_BYTES + 1), id="more than a handle"),
    ],
)
def test_a_forged_token_gets_no_further_than_an_odd_handle_would(cursor: str) -> None:
    assert is_refused(page_token_for(cursor, "sessions"), "sessions")


@given(cursors)
def test_a_token_that_lost_a_character_is_not_taken_for_another_listing(cursor: str) -> None:
    assert is_refused(page_token_for(cursor, "sessions")[1:], "sessions")
