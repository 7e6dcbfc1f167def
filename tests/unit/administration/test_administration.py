"""What the admin services refuse before the store sees it, and when a revocation is acknowledged. On a real store."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sidegate_sidecar.administration import DEFAULT_PAGE, MAX_BATCH, MAX_PAGE, Administration, checked_page_size
from sidegate_sidecar.errors import (
    InvalidRequest,
    KeysUnavailable,
    NotFound,
    PreconditionFailed,
    RevisionNotReached,
)
from sidegate_sidecar.model import (
    SECOND,
    Attribution,
    AuditFilter,
    KeySet,
    Micros,
    Registration,
    Revision,
    RevocationKind,
    StoreLimits,
    VerificationKey,
)
from sidegate_sidecar.store.sqlite import SqliteStore

NOW: Micros = 1_800_000_000 * SECOND
HOUR: Micros = 3600 * SECOND
ONE, TWO = "https://one.example", "https://two.example"
OPS = Attribution("ops")
REQUEST_ID = "123e4567-e89b-12d3-a456-426614174000"
THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # RFC 7638 §3.1


class HeldIndex:
    """The index of this sidecar. Holds each wait until the test lets it go, if it is told to."""

    def __init__(self) -> None:
        self.reached: list[Revision] = []
        self.asked: asyncio.Queue[Revision] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.stuck = False

    async def read_back(self, written: Revision, timeout: float) -> None:
        self.asked.put_nowait(written)
        await self.go_on.wait()
        if self.stuck:
            raise RevisionNotReached("not in time")
        self.reached.append(written)


class IssuersKeys:
    """The keys of the first issuer; the second one was never reached. What a key verifies matters to nobody here."""

    def __init__(self) -> None:
        public_key = Ed25519PrivateKey.generate().public_key()
        key = VerificationKey("k1", frozenset({"EdDSA"}), THUMBPRINT, public_key)
        self._key_sets = {ONE: KeySet(1, (key,))}

    def withdraw(self) -> None:
        """As an issuer does with a key that leaked."""
        self._key_sets[ONE] = KeySet(2, ())

    def forget(self) -> None:
        """As a sidecar that has just started, and does not reach the issuer."""
        del self._key_sets[ONE]

    def key_set(self, issuer: str) -> KeySet:
        if issuer not in self._key_sets:
            raise KeysUnavailable("the issuer's keys could not be had yet")
        return self._key_sets[issuer]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "sessions.db", clock=lambda: NOW)
    await store.migrate(StoreLimits(24 * HOUR, 60 * SECOND, 30 * 24 * HOUR))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def index() -> HeldIndex:
    return HeldIndex()


@pytest.fixture
def one(store: SqliteStore, index: HeldIndex) -> Administration:
    """One issuer is configured, and sessions that nobody registered are good."""
    return Administration(store, index, IssuersKeys(), {ONE: True})


@pytest.fixture
def two(store: SqliteStore, index: HeldIndex) -> Administration:
    """Two issuers are configured; the second one registers every session."""
    return Administration(store, index, IssuersKeys(), {ONE: True, TWO: False})


def session(handle: str = "phone", *, issuer: str = ONE, user: str = "ada", tenant: str = "") -> Registration:
    return Registration(issuer, handle, user, tenant, None, NOW + HOUR)


async def refusal(call: Awaitable[object]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        await call
    return refused.value


# Fields: where a name can stand, and what that place is called.


async def _registered_handle(admin: Administration, name: str) -> object:
    return await admin.register([session(name)])


async def _registered_user(admin: Administration, name: str) -> object:
    return await admin.register([session(user=name)])


async def _registered_tenant(admin: Administration, name: str) -> object:
    return await admin.register([session(tenant=name)])


async def _handle_of_a_batch(admin: Administration, name: str) -> object:
    return await admin.register([session("a"), session(name)], field="requests")


async def _user_of_a_batch(admin: Administration, name: str) -> object:
    return await admin.register([session("a"), session("b", user=name)], field="requests")


async def _handle_to_get(admin: Administration, name: str) -> object:
    await admin.register([session(name)])
    return await admin.get_session(ONE, name)


async def _user_to_list(admin: Administration, name: str) -> object:
    return await admin.list_sessions(ONE, name, after="", page_size=0)


async def _handle_to_revoke(admin: Administration, name: str) -> object:
    return await admin.revoke_sessions(ONE, [name], OPS, field="session_handle")


async def _handles_to_revoke(admin: Administration, name: str) -> object:
    return await admin.revoke_sessions(ONE, ["a", name], OPS)


async def _user_to_revoke(admin: Administration, name: str) -> object:
    return await admin.revoke_user(ONE, name, OPS, tenant_id=None, except_session_handle=None)


async def _tenant_to_revoke_in(admin: Administration, name: str) -> object:
    return await admin.revoke_user(ONE, "ada", OPS, tenant_id=name, except_session_handle=None)


async def _session_to_spare(admin: Administration, name: str) -> object:
    return await admin.revoke_user(ONE, "ada", OPS, tenant_id=None, except_session_handle=name)


async def _tenant_to_revoke(admin: Administration, name: str) -> object:
    return await admin.revoke_tenant(ONE, name, OPS)


async def _filtered_handle(admin: Administration, name: str) -> object:
    return await admin.list_revocations(AuditFilter(session_handle=name), before=None, page_size=0)


async def _filtered_user(admin: Administration, name: str) -> object:
    return await admin.list_revocations(AuditFilter(user_id=name), before=None, page_size=0)


async def _filtered_tenant(admin: Administration, name: str) -> object:
    return await admin.list_revocations(AuditFilter(tenant_id=name), before=None, page_size=0)


async def _filtered_actor(admin: Administration, name: str) -> object:
    return await admin.list_revocations(AuditFilter(actor=name), before=None, page_size=0)


NAMES: list[tuple[Callable[[Administration, str], Awaitable[object]], str]] = [
    (_registered_handle, "session_handle"),
    (_registered_user, "user_id"),
    (_registered_tenant, "tenant_id"),
    (_handle_of_a_batch, "requests[1].session_handle"),
    (_user_of_a_batch, "requests[1].user_id"),
    (_handle_to_get, "session_handle"),
    (_user_to_list, "user_id"),
    (_handle_to_revoke, "session_handle"),
    (_handles_to_revoke, "session_handles[1]"),
    (_user_to_revoke, "user_id"),
    (_tenant_to_revoke_in, "tenant_id"),
    (_session_to_spare, "except_session_handle"),
    (_tenant_to_revoke, "tenant_id"),
    (_filtered_handle, "session_handle"),
    (_filtered_user, "user_id"),
    (_filtered_tenant, "tenant_id"),
    (_filtered_actor, "actor"),
]
everywhere = pytest.mark.parametrize(("call", "field"), NAMES, ids=[call.__name__[1:] for call, _ in NAMES])


@everywhere
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param("é" * 256 + "e", "must not be longer than 512 bytes", id="513 bytes"),
        pytest.param("a\x00b", "must not contain NUL", id="NUL"),
        pytest.param("", "must not be empty", id="empty"),
    ],
)
async def test_a_name_that_is_none_is_refused_where_it_stands(
    one: Administration,
    call: Callable[[Administration, str], Awaitable[object]],
    field: str,
    name: str,
    problem: str,
) -> None:
    if call is _registered_tenant and name == "":
        await call(one, name)  # the one place where a name may be absent
        return

    refused = await refusal(call(one, name))

    assert refused.message == f"{field}: {problem}"
    assert (refused.reason, refused.metadata) == ("INVALID_FIELD", {"field": field})


@everywhere
@pytest.mark.parametrize(
    "name", ["é" * 256, "x", "line\nbreak", "🙂"], ids=["512 bytes", "1 byte", "a line break", "🙂"]
)
async def test_a_name_within_bounds_is_taken_as_it_is(
    one: Administration, call: Callable[[Administration, str], Awaitable[object]], field: str, name: str
) -> None:
    await call(one, name)


@pytest.mark.parametrize(
    ("reason", "taken"), [("é" * 512, True), ("é" * 512 + "e", False), ("a\x00b", False), ("", True)]
)
async def test_a_reason_has_at_most_1024_bytes_and_no_nul(one: Administration, reason: str, taken: bool) -> None:
    by_handle = one.revoke_sessions(ONE, ["a"], Attribution("ops", reason))
    by_user = one.revoke_user(ONE, "ada", Attribution("ops", reason), tenant_id=None, except_session_handle=None)
    by_tenant = one.revoke_tenant(ONE, "red", Attribution("ops", reason))
    by_key = one.revoke_key(ONE, Attribution("ops", reason), key_id="k1")
    for call in (by_handle, by_user, by_tenant, by_key):
        if taken:
            await call
        else:
            assert (await refusal(call)).metadata == {"field": "reason"}


@pytest.mark.parametrize(
    ("request_id", "taken"),
    [
        pytest.param(REQUEST_ID, True, id="RFC 9562"),
        pytest.param(REQUEST_ID.upper(), True, id="upper case"),
        pytest.param(f"{{{REQUEST_ID}}}", False, id="in braces"),
        pytest.param(f"urn:uuid:{REQUEST_ID}", False, id="a URN"),
        pytest.param(REQUEST_ID.replace("-", ""), False, id="without hyphens"),
        pytest.param("-" * 100_000 + REQUEST_ID, False, id="100,000 hyphens"),
        pytest.param(f"{REQUEST_ID}\n", False, id="a line break"),
        pytest.param(REQUEST_ID.replace("1", "\N{ARABIC-INDIC DIGIT ONE}"), False, id="digits beyond ASCII"),
        pytest.param("", False, id="empty"),
    ],
)
async def test_a_request_id_is_a_uuid_in_its_one_form(one: Administration, request_id: str, taken: bool) -> None:
    call = one.revoke_sessions(ONE, ["a"], Attribution("ops", "", request_id))
    if taken:
        await call
    else:
        assert (await refusal(call)).metadata == {"field": "request_id"}


async def test_nothing_of_a_batch_with_a_bad_item_is_done(one: Administration, store: SqliteStore) -> None:
    await refusal(_handles_to_revoke(one, ""))
    await refusal(_handle_of_a_batch(one, ""))

    assert (await store.read_log(1, 10)).head == 0
    assert await store.get_session(ONE, "a") is None


# Batches and pages.


@pytest.mark.parametrize(("size", "taken"), [(0, False), (1, True), (MAX_BATCH, True), (MAX_BATCH + 1, False)])
async def test_a_batch_holds_1_to_1000_items(one: Administration, size: int, taken: bool) -> None:
    handles = [f"session-{number}" for number in range(size)]
    calls: Sequence[tuple[str, Awaitable[object]]] = [
        ("requests", one.register([session(handle) for handle in handles], field="requests")),
        ("session_handles", one.revoke_sessions(ONE, handles, OPS)),
    ]
    for field, call in calls:
        if taken:
            await call
        else:
            refused = await refusal(call)
            assert (refused.reason, refused.metadata) == ("BATCH_SIZE", {"field": field, "limit": "1000"})


@pytest.mark.parametrize(
    ("asked", "given"),
    [(0, DEFAULT_PAGE), (1, 1), (MAX_PAGE, MAX_PAGE), (MAX_PAGE + 1, MAX_PAGE), (2**31 - 1, MAX_PAGE)],
)
def test_a_page_has_100_entries_if_nobody_says_and_1000_at_most(asked: int, given: int) -> None:
    assert checked_page_size(asked) == given


async def test_pages_are_as_long_as_asked(one: Administration) -> None:
    await one.register([session(f"session-{number:03}") for number in range(DEFAULT_PAGE + 1)], field="requests")
    await one.revoke_sessions(ONE, [f"session-{number:03}" for number in range(DEFAULT_PAGE + 1)], OPS)

    for size, length in ((0, DEFAULT_PAGE), (2, 2), (MAX_PAGE + 1, DEFAULT_PAGE + 1)):
        assert len(await one.list_sessions(ONE, "ada", after="", page_size=size)) == length
        assert len(await one.list_revocations(AuditFilter(), before=None, page_size=size)) == length
    for call in (
        one.list_sessions(ONE, "ada", after="", page_size=-1),
        one.list_revocations(AuditFilter(), before=None, page_size=-1),
    ):
        assert (await refusal(call)).metadata == {"field": "page_size"}


# The issuer.


async def test_the_only_issuer_may_be_left_out(one: Administration, store: SqliteStore) -> None:
    await one.register([session(issuer="")])
    await one.revoke_sessions("", ["pad"], OPS)
    await one.revoke_user("", "ada", OPS, tenant_id=None, except_session_handle=None)
    await one.revoke_tenant("", "red", OPS)
    await one.revoke_key("", OPS, key_id="k1")

    assert (await one.get_session("", "phone")).issuer == ONE
    assert [record.issuer for record in await one.list_sessions("", "ada", after="", page_size=0)] == [ONE]
    assert {entry.issuer for entry in (await store.read_log(1, 10)).entries} == {ONE}


async def _issuer_to_register(admin: Administration, issuer: str) -> object:
    return await admin.register([session(issuer=issuer)])


async def _issuer_of_a_batch(admin: Administration, issuer: str) -> object:
    return await admin.register([session("a"), session("b", issuer=issuer)], field="requests")


async def _issuer_to_get(admin: Administration, issuer: str) -> object:
    return await admin.get_session(issuer, "phone")


async def _issuer_to_list(admin: Administration, issuer: str) -> object:
    return await admin.list_sessions(issuer, "ada", after="", page_size=0)


async def _issuer_to_revoke_at(admin: Administration, issuer: str) -> object:
    return await admin.revoke_sessions(issuer, ["phone"], OPS)


async def _issuer_of_the_user(admin: Administration, issuer: str) -> object:
    return await admin.revoke_user(issuer, "ada", OPS, tenant_id=None, except_session_handle=None)


async def _issuer_of_the_tenant(admin: Administration, issuer: str) -> object:
    return await admin.revoke_tenant(issuer, "red", OPS)


async def _issuer_of_the_key(admin: Administration, issuer: str) -> object:
    return await admin.revoke_key(issuer, OPS, key_id="k1")


async def _filtered_issuer(admin: Administration, issuer: str) -> object:
    return await admin.list_revocations(AuditFilter(issuer=issuer), before=None, page_size=0)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (_issuer_to_register, "issuer"),
        (_issuer_of_a_batch, "requests[1].issuer"),
        (_issuer_to_get, "issuer"),
        (_issuer_to_list, "issuer"),
        (_issuer_to_revoke_at, "issuer"),
        (_issuer_of_the_user, "issuer"),
        (_issuer_of_the_tenant, "issuer"),
        (_issuer_of_the_key, "issuer"),
        (_filtered_issuer, "issuer"),
    ],
)
@pytest.mark.parametrize(
    ("issuer", "reason"), [("", "ISSUER_REQUIRED"), (f"{ONE}/", "UNKNOWN_ISSUER"), ("nobody", "UNKNOWN_ISSUER")]
)
async def test_an_issuer_must_be_one_of_the_settings(
    two: Administration,
    call: Callable[[Administration, str], Awaitable[object]],
    field: str,
    issuer: str,
    reason: str,
) -> None:
    refused = await refusal(call(two, issuer))

    assert (refused.reason, refused.metadata) == (reason, {"field": field})


async def test_an_exception_that_nobody_registered_will_do_only_where_unknown_sessions_are_good(
    two: Administration,
) -> None:
    await two.revoke_user(ONE, "ada", OPS, tenant_id=None, except_session_handle="unregistered")

    refused = await refusal(two.revoke_user(TWO, "ada", OPS, tenant_id=None, except_session_handle="unregistered"))
    assert (refused.reason, refused.metadata) == ("NOT_A_SESSION_OF_USER", {"field": "except_session_handle"})


# Which key.


async def _revoked_key(store: SqliteStore) -> tuple[str, str]:
    """The thumbprint and the `kid` of the one revocation in the audit trail."""
    [entry] = await store.list_revocations(AuditFilter(), before=None, limit=10)
    assert entry.entry.kind is RevocationKind.KEY
    return entry.entry.subject, entry.key_id


async def test_a_key_named_by_its_kid_is_the_one_of_the_current_set(one: Administration, store: SqliteStore) -> None:
    await one.revoke_key(ONE, OPS, key_id="k1")

    assert await _revoked_key(store) == (THUMBPRINT, "k1")


async def test_a_key_named_by_its_thumbprint_need_not_be_in_the_current_set(
    one: Administration, store: SqliteStore
) -> None:
    await one.revoke_key(ONE, OPS, key_thumbprint="A" * 43)

    assert await _revoked_key(store) == ("A" * 43, "")


@pytest.mark.parametrize("lose", [IssuersKeys.withdraw, IssuersKeys.forget], ids=["withdrawn", "no key set"])
async def test_a_revocation_by_kid_is_replayed_after_the_key_has_gone(
    store: SqliteStore, index: HeldIndex, lose: Callable[[IssuersKeys], None]
) -> None:
    keys = IssuersKeys()
    admin = Administration(store, index, keys, {ONE: True})
    once = Attribution("ops", "leaked", REQUEST_ID)
    first = await admin.revoke_key(ONE, once, key_id="k1")
    lose(keys)

    assert await admin.revoke_key("", once, key_id="k1") == first
    assert index.reached == [first.revision, first.revision]
    for other in (Attribution("ops", "leaked"), Attribution("support", "leaked", REQUEST_ID)):
        with pytest.raises((InvalidRequest, KeysUnavailable)):
            await admin.revoke_key(ONE, other, key_id="k1")
    assert (await refusal(admin.revoke_key(ONE, once, key_id="k2"))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("key_id", ["k2", "K1", "k1 ", "", "a\x00b", "x" * 513], ids=ascii)
async def test_a_kid_that_no_current_key_has_is_refused(one: Administration, store: SqliteStore, key_id: str) -> None:
    refused = await refusal(one.revoke_key(ONE, OPS, key_id=key_id))

    assert (refused.reason, refused.metadata) == ("INVALID_FIELD", {"field": "key_id"})
    assert (await store.read_log(1, 1)).head == 0


async def test_whether_a_key_is_current_is_not_known_while_the_issuer_was_never_reached(two: Administration) -> None:
    with pytest.raises(KeysUnavailable):
        await two.revoke_key(TWO, OPS, key_id="k1")

    assert (await two.revoke_key(TWO, OPS, key_thumbprint=THUMBPRINT)).newly_revoked


@pytest.mark.parametrize(
    "thumbprint",
    [
        pytest.param("", id="empty"),
        pytest.param(THUMBPRINT[:-1], id="a character short"),
        pytest.param(THUMBPRINT + "=", id="padded"),
        pytest.param(THUMBPRINT + "\n", id="a line break"),
        pytest.param(THUMBPRINT.replace("-", "+"), id="base64, not base64url"),
        pytest.param(THUMBPRINT[:-1] + "t", id="bits beyond the 256"),
        pytest.param("37:b6:cb:b1:78:7c:b8:30:9c:77:ee:8c:37:05:c5:e1", id="hexadecimal"),
        pytest.param("\N{FULLWIDTH LATIN CAPITAL LETTER A}" * 43, id="letters beyond ASCII"),
    ],
)
async def test_what_is_no_thumbprint_is_refused(one: Administration, store: SqliteStore, thumbprint: str) -> None:
    refused = await refusal(one.revoke_key(ONE, OPS, key_thumbprint=thumbprint))

    assert (refused.reason, refused.metadata) == ("INVALID_FIELD", {"field": "key_thumbprint"})
    assert (await store.read_log(1, 1)).head == 0


async def test_no_key_at_all_is_refused(one: Administration) -> None:
    refused = await refusal(one.revoke_key(ONE, OPS))

    assert (refused.reason, refused.metadata) == ("INVALID_FIELD", {"field": "key"})


# What the store answers.


async def test_a_session_that_nobody_registered_is_not_found(one: Administration) -> None:
    with pytest.raises(NotFound) as refused:
        await one.get_session(ONE, "phone")
    assert refused.value.reason == "SESSION_NOT_REGISTERED"


async def test_a_refusal_of_the_store_names_the_field_as_the_caller_wrote_it(one: Administration) -> None:
    await one.register([session()])

    for field, path in (("", "session_handle"), ("requests", "requests[0].session_handle")):
        with pytest.raises(PreconditionFailed) as refused:
            await one.register([session(user="eve")], field=field)
        assert refused.value.reason == "SESSION_OF_ANOTHER"
        assert refused.value.metadata["field"] == path


# Visible here before it is acknowledged.


class Revoke(Protocol):
    """A revocation of something that nobody revoked before; where the log stands then."""

    def __call__(self, admin: Administration, *, validate_only: bool = False) -> Awaitable[Revision]: ...


async def _revoke_a_session(admin: Administration, *, validate_only: bool = False) -> Revision:
    return (await admin.revoke_sessions(ONE, ["phone"], OPS, validate_only=validate_only)).revision


async def _revoke_a_user(admin: Administration, *, validate_only: bool = False) -> Revision:
    outcome = await admin.revoke_user(
        ONE, "ada", OPS, tenant_id=None, except_session_handle=None, validate_only=validate_only
    )
    return outcome.revision


async def _revoke_a_tenant(admin: Administration, *, validate_only: bool = False) -> Revision:
    return (await admin.revoke_tenant(ONE, "red", OPS, validate_only=validate_only)).revision


async def _revoke_a_key(admin: Administration, *, validate_only: bool = False) -> Revision:
    return (await admin.revoke_key(ONE, OPS, key_id="k1", validate_only=validate_only)).revision


each_revocation = pytest.mark.parametrize(
    "revoke", [_revoke_a_session, _revoke_a_user, _revoke_a_tenant, _revoke_a_key]
)


@each_revocation
async def test_a_revocation_is_acknowledged_once_the_index_has_it(
    one: Administration,
    store: SqliteStore,
    index: HeldIndex,
    revoke: Revoke,
) -> None:
    index.go_on.clear()
    acknowledgement = asyncio.ensure_future(revoke(one))
    wanted = await asyncio.wait_for(index.asked.get(), 30)

    page = await store.read_log(1, 10)
    assert wanted == Revision(page.store_id, page.head)  # it is durable by now
    assert page.head == 1
    assert not acknowledgement.done()

    index.go_on.set()
    assert await acknowledgement == wanted
    assert index.reached == [wanted]


@each_revocation
async def test_a_revocation_that_the_index_does_not_reach_is_not_acknowledged(
    one: Administration, index: HeldIndex, revoke: Revoke
) -> None:
    index.stuck = True

    with pytest.raises(RevisionNotReached):
        await revoke(one)


async def test_what_was_revoked_before_is_acknowledged_when_it_is_visible_too(
    one: Administration, index: HeldIndex
) -> None:
    first = await one.revoke_sessions(ONE, ["phone"], OPS)
    again = await one.revoke_sessions(ONE, ["phone"], OPS)

    assert (first.newly_revoked, again.newly_revoked) == (("phone",), ())
    assert index.reached == [first.revision, again.revision]


@each_revocation
async def test_what_is_only_validated_changes_nothing_and_is_not_waited_for(
    one: Administration, store: SqliteStore, index: HeldIndex, revoke: Revoke
) -> None:
    index.stuck = True

    revision = await revoke(one, validate_only=True)

    page = await store.read_log(1, 1)
    assert revision == Revision(page.store_id, 0)
    assert page.head == 0
    assert index.asked.empty()
