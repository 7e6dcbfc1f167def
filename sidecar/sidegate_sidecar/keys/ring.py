"""All issuers' keys under one roof."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeAlias

import structlog
from structlog.typing import FilteringBoundLogger

from sidegate_sidecar.keys.copy_keeping import CopyKeeper
from sidegate_sidecar.keys.file_loading import FileLoader
from sidegate_sidecar.keys.issuer_keys import Clocks, IssuerKeys
from sidegate_sidecar.keys.loading import KeyLoader
from sidegate_sidecar.keys.saved_copy import SavedCopy
from sidegate_sidecar.keys.sleeping import sleep_by_steady_clock
from sidegate_sidecar.keys.sources import Discovery, IssuerKeysConfig, JwksUrl
from sidegate_sidecar.keys.url_loading import UrlLoader
from sidegate_sidecar.model import Clock, KeySet, KeySetStatus, steady_clock, wall_clock

Listener: TypeAlias = Callable[[str, KeySet], None]
"""Told of an issuer's new set. Runs on the event loop, in the step that changed the set; must not block."""


class KeyRing:
    """The keys of every configured issuer, each kept on its own: what one issuer does never touches another.

    One event loop; `key_set` costs a dictionary look-up.

    Args:
        configs: One for each issuer, none twice, in the order of the settings.
        monotonic: Seconds of a clock that never steps and runs through suspension; for ages and pauses.
        now: The wall clock; only for the age of saved copies.
        sleep: Between refreshes; by the same clock, or what came due in a suspension would be late.
        log: Where to say what happened.
    """

    def __init__(
        self,
        configs: Sequence[IssuerKeysConfig],
        *,
        monotonic: Callable[[], float] = steady_clock,
        now: Clock = wall_clock,
        sleep: Callable[[float], Awaitable[None]] = sleep_by_steady_clock,
        log: FilteringBoundLogger | None = None,
    ) -> None:
        self._listeners: list[Listener] = []
        self._log: FilteringBoundLogger = log if log is not None else structlog.get_logger()
        # A thread for each file or disk that may hang, another for each document to parse at the same moment. Our own,
        # so that the default ones, which look up names, cannot be what keys wait for. Made only when they are needed.
        self._executor = ThreadPoolExecutor(2 * len(configs) + 1, thread_name_prefix="sidegate-keys")
        clocks = Clocks(monotonic, now, sleep)
        self._issuers = {config.issuer: self._issuer_keys(config, clocks) for config in configs}

    async def start(self) -> None:
        """Load every issuer's keys once and go on refreshing them. An issuer that fails is tried again in the
        background; one that has a saved copy is not waited for.
        """
        await asyncio.gather(*(keys.start() for keys in self._issuers.values()))

    async def close(self) -> None:
        """End every task. Safe to call twice, and on a ring that was never started."""
        await asyncio.gather(*(keys.close() for keys in self._issuers.values()))
        self._executor.shutdown(wait=False, cancel_futures=True)

    def key_set(self, issuer: str) -> KeySet:
        """An issuer's current set.

        Raises:
            KeysUnavailable: It never had one, or could not be asked for longer than its outage cap.
            KeyError: No such issuer is configured.
        """
        return self._issuers[issuer].key_set()

    async def key_set_with(self, issuer: str, key_id: str | None) -> KeySet:
        """The set of an issuer that was really asked for a `kid` which the current set lacks. Within 500 ms.

        Without a `kid`: for a token that has none, and that no key of the current set has signed.

        Raises:
            KeysUnavailable: It could not be asked. Not having the key is an answer: a set without it.
            KeyError: No such issuer is configured.
        """
        return await self._issuers[issuer].key_set_with(key_id)

    def status(self) -> list[KeySetStatus]:
        """One for each issuer, in the order of the settings."""
        return [keys.status() for keys in self._issuers.values()]

    def add_listener(self, listener: Listener) -> None:
        """Have a function called after each change of a set from now on."""
        self._listeners.append(listener)

    def _issuer_keys(self, config: IssuerKeysConfig, clocks: Clocks) -> IssuerKeys:
        log = self._log.bind(issuer=config.issuer)
        return IssuerKeys(
            config.issuer,
            _loader(config, self._executor),
            outage_cap=config.outage_cap,
            keeper=_keeper(config, self._executor, log),
            clocks=clocks,
            log=log,
            on_change=self._tell,
        )

    def _tell(self, issuer: str, key_set: KeySet) -> None:
        for listener in self._listeners:
            try:
                listener(issuer, key_set)
            except Exception as error:  # noqa: BLE001 - one who does not listen well must not keep the news from others
                self._log.error("key_listener_failed", issuer=issuer, error=type(error).__name__)


def _loader(config: IssuerKeysConfig, executor: Executor) -> KeyLoader:
    if isinstance(config.source, JwksUrl | Discovery):
        return UrlLoader(config, config.source, executor)
    return FileLoader(config.source, executor)


def _keeper(config: IssuerKeysConfig, executor: Executor, log: FilteringBoundLogger) -> CopyKeeper | None:
    """A file needs no copy: it is as near as one."""
    if config.saved_copy_dir is None or not isinstance(config.source, JwksUrl | Discovery):
        return None
    source = config.source
    name = f"jwks {source.url}" if isinstance(source, JwksUrl) else f"discovery {source.issuer_url}"
    return CopyKeeper(SavedCopy(config.saved_copy_dir, config.issuer, name), executor, log)
