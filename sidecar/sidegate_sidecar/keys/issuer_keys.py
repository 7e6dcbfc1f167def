"""The keys of one issuer as time goes by: refreshed ahead of expiry, asked for on demand, kept through outages."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys.absent_keys import AbsentKeys
from sidegate_sidecar.keys.bucket import PAUSE_SECONDS, TokenBucket
from sidegate_sidecar.keys.copy_keeping import CopyKeeper
from sidegate_sidecar.keys.jwks import DroppedMember, JwksContent
from sidegate_sidecar.keys.loading import KeyLoader, LoadFailed
from sidegate_sidecar.keys.saved_copy import SavedKeys
from sidegate_sidecar.model import SECOND, Clock, KeySet, KeySetStatus, Micros, VerificationKey

UNKNOWN_KEY_WAIT_SECONDS = 0.5
_CLOCK_SKEW: Micros = 60 * SECOND  # a saved copy from further ahead was stamped by a clock that cannot be believed
_REMINDER_SECONDS = 60.0
_MAX_DROPPED_LOGGED = 16  # in one go


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time, so that tests can own it.

    Attributes:
        monotonic: Seconds of a clock that runs through suspension, for ages and pauses.
        now: The wall clock, for what outlives the process.
        sleep: Between one refresh and the next; in seconds of `monotonic`.
    """

    monotonic: Callable[[], float]
    now: Clock
    sleep: Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A load that is over. Numbered from 1 in the order in which they began; there is only ever one at a time."""

    number: int
    began_at: float
    refresh_in: float | None
    """None: it failed."""


class IssuerKeys:
    """One issuer's key set.

    Args:
        issuer: Its name in the settings.
        loader: Asks the source.
        outage_cap: How long a set serves without being confirmed, in seconds.
        keeper: Keeps the saved copy. None: there is none.
        clocks: Time.
        log: Where to say what happened.
        on_change: Called after each change of the set, in the same step of the event loop.
        unknown_key_wait: How long `key_set_with` may take, in seconds.
    """

    def __init__(
        self,
        issuer: str,
        loader: KeyLoader,
        *,
        outage_cap: float,
        keeper: CopyKeeper | None,
        clocks: Clocks,
        log: FilteringBoundLogger,
        on_change: Callable[[str, KeySet], None],
        unknown_key_wait: float = UNKNOWN_KEY_WAIT_SECONDS,
    ) -> None:
        self._issuer = issuer
        self._loader = loader
        self._outage_cap = outage_cap
        self._keeper = keeper
        self._clocks = clocks
        self._log = log
        self._on_change = on_change
        self._unknown_key_wait = unknown_key_wait

        self._set = KeySet(0, ())
        self._confirmed_at: float | None = None
        self._dropped: frozenset[DroppedMember] = frozenset()
        self._bucket = TokenBucket(clocks.monotonic)
        self._absent = AbsentKeys()

        self._begun = 0
        self._under_way: asyncio.Task[None] | None = None
        self._last: _Attempt | None = None
        self._failures = 0
        self._last_error = ""
        self._failure_logged_at = -math.inf
        self._refresher: asyncio.Task[None] | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to keep the keys. Returns with a set if there is a saved copy, else after the first attempt."""
        if self._keeper is not None:
            self._adopt(await self._keeper.start(), self._keeper)
        self._refresher = asyncio.create_task(self._refresh())
        if self._current() is None:
            await asyncio.wait({self._load()})

    async def close(self) -> None:
        """End everything that was begun. Whoever waits for a key is told KeysUnavailable."""
        self._closed = True
        tasks = [task for task in (self._refresher, self._under_way) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._keeper is not None:
            await self._keeper.close()

    def key_set(self) -> KeySet:
        """The current set. Raises KeysUnavailable if there never was one, or none was confirmed for too long."""
        current = self._current()
        if current is None:
            raise KeysUnavailable("the issuer's keys could not be loaded")
        return current

    async def key_set_with(self, key_id: str | None) -> KeySet:
        """The set, with a key of that `kid` if the issuer has one. A set without it is proof that it has none.

        None stands for a key without a name, which the current set always lacks.

        Asks the issuer if the current set lacks it; all who wait share one load.

        Raises:
            KeysUnavailable: The issuer did not answer in time, or may not be asked again so soon.

        Source: docs/concepts.md, "How Verify decides", step 2.
        """
        begun_before = self._begun
        try:
            async with asyncio.timeout(self._unknown_key_wait):
                while True:
                    current = self._current()
                    if current is not None and key_id in current.by_id:
                        return current
                    if self._answered_since(begun_before) or self._answered_within_pause(key_id):
                        if key_id is not None:
                            self._absent.add(key_id)
                        return self.key_set()
                    if not self._loading:
                        if self._begun > begun_before or self._closed or not self._bucket.take():
                            break
                        self._load()
                    await self._attempt_over()
        except TimeoutError:
            pass
        raise KeysUnavailable("the issuer could not be asked for the token's key")

    def status(self) -> KeySetStatus:
        """What there is to know, for people."""
        age = None if self._confirmed_at is None else self._clocks.monotonic() - self._confirmed_at
        return KeySetStatus(
            issuer=self._issuer,
            generation=self._set.generation,
            key_count=len(self._set.keys),
            age=None if age is None else round(age * SECOND),
            last_error=self._last_error,
        )

    @property
    def _loading(self) -> bool:
        return self._under_way is not None and not self._under_way.done()

    def _current(self) -> KeySet | None:
        if self._confirmed_at is None or self._clocks.monotonic() - self._confirmed_at > self._outage_cap:
            return None
        return self._set

    def _answered_since(self, begun_before: int) -> bool:
        """Whether the last attempt began after that many had, and succeeded. One that was already under way does not
        count: the issuer may have answered it before it had the key.
        """
        last = self._last
        return last is not None and last.number > begun_before and last.refresh_in is not None

    def _answered_within_pause(self, key_id: str | None) -> bool:
        """Whether the issuer may not be asked for this key just now, but was less than one pause of the bucket ago, and
        answered. The bucket's last token is for keys that were never asked for. An attempt that is under way is waited
        for: it may bring the key.
        """
        last = self._last
        if self._loading or last is None or last.refresh_in is None:
            return False
        spendable = self._bucket.tokens() - (1 if key_id is None or key_id in self._absent else 0)
        return spendable <= 0 and self._clocks.monotonic() - last.began_at <= PAUSE_SECONDS

    async def _refresh(self) -> None:
        while True:
            self._load()
            await self._attempt_over()
            last = self._last
            wait = None if last is None else last.refresh_in
            if wait is None:
                wait = self._loader.retry_in(self._failures, without_keys=self._current() is None)
            await self._clocks.sleep(wait)

    def _load(self) -> asyncio.Task[None]:
        """Join the attempt that is under way, or begin one."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._attempt())
        return self._under_way

    async def _attempt_over(self) -> None:
        if self._under_way is not None:
            await asyncio.wait({self._under_way})  # never cancels it, nor raises its error

    async def _attempt(self) -> None:
        # Counted here and not where the task is made: who arrives before this line still comes before the question.
        self._begun += 1
        number = self._begun
        began_at = self._clocks.monotonic()
        refresh_in: float | None = None
        try:
            loaded = await self._loader.load()
            self._accept(loaded.content, began_at)
            refresh_in = loaded.refresh_in
        except LoadFailed as failure:
            self._fail(str(failure))
        except Exception as error:  # noqa: BLE001 - whatever a document provokes, keys that are not refreshed end service
            self._fail(f"an unexpected fault ({type(error).__name__})")
        finally:
            self._last = _Attempt(number, began_at, refresh_in)

    def _fail(self, error: str) -> None:
        self._failures += 1
        now = self._clocks.monotonic()
        # While there are no keys at all every token is undecidable, and the first line may long have scrolled away.
        reminder = self._current() is None and now - self._failure_logged_at >= _REMINDER_SECONDS
        if error != self._last_error or reminder:
            self._log.warning("keys_not_loaded", error=error)
            self._failure_logged_at = now
        self._last_error = error

    def _accept(self, content: JwksContent, began_at: float) -> None:
        if self._failures:
            self._log.info("keys_loaded_again", failures=self._failures)
        self._failures = 0
        self._last_error = ""
        self._confirmed_at = began_at
        self._log_dropped(content.dropped)
        self._replace(content.keys)
        if self._keeper is not None:
            age = round((self._clocks.monotonic() - began_at) * SECOND)
            self._keeper.keep(SavedKeys(self._set.keys, self._clocks.now() - age))

    def _adopt(self, saved: SavedKeys | None, keeper: CopyKeeper) -> None:
        """Begin with a saved copy. Its age goes on counting from when the issuer last confirmed it."""
        if saved is None:
            return
        age = self._clocks.now() - saved.confirmed_at
        if age < -_CLOCK_SKEW or age > self._outage_cap * SECOND:
            keeper.log_ignored("they are too old, or from the future")
            return
        self._confirmed_at = self._clocks.monotonic() - max(age, 0) / SECOND
        self._replace(saved.keys)

    def _replace(self, keys: tuple[VerificationKey, ...]) -> None:
        """The only place that makes a set. The same keys in another order are no change."""
        if self._set.generation and _identity(keys) == _identity(self._set.keys):
            return
        self._set = KeySet(self._set.generation + 1, keys)
        self._log.info("keys_changed", generation=self._set.generation, key_count=len(keys))
        self._on_change(self._issuer, self._set)

    def _log_dropped(self, dropped: tuple[DroppedMember, ...]) -> None:
        new = [member for member in dropped if member not in self._dropped]
        self._dropped = frozenset(dropped)
        for member in new[:_MAX_DROPPED_LOGGED]:
            self._log.warning("key_dropped", position=member.position, key_id=member.shown_key_id, reason=member.reason)
        if len(new) > _MAX_DROPPED_LOGGED:
            self._log.warning("more_keys_dropped", count=len(new) - _MAX_DROPPED_LOGGED)


def _identity(keys: tuple[VerificationKey, ...]) -> frozenset[tuple[str | None, frozenset[str], str]]:
    return frozenset((key.key_id, key.algorithms, key.thumbprint) for key in keys)
