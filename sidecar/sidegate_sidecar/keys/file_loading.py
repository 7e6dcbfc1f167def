"""Keys in a file, read again when it changes."""

import asyncio
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import BinaryIO, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from sidegate_sidecar.keys.jwks import MAX_DOCUMENT_BYTES, JwksContent, NotAKeySet, parse_jwks
from sidegate_sidecar.keys.loading import Loaded, LoadFailed, NoUsableKey, usable
from sidegate_sidecar.keys.public_keys import UnusableKey, verification_key
from sidegate_sidecar.keys.sources import JwksFile, PemFile
from sidegate_sidecar.keys.wording import in_words, shown_path
from sidegate_sidecar.model import PublicKey

POLL_SECONDS = 1.0
# A file written twice within one tick of the file system's clock has one time stamp and perhaps one size: what was read
# so soon after a change is read again, until the change lies further back than any such tick. FAT's is two seconds.
SETTLED_AFTER_SECONDS = 3.0

READ_TIMEOUT_SECONDS = 5.0

_Outcome: TypeAlias = JwksContent | str
"""What a file held; of a file that was no use, why."""


class FileLoader:
    """Loads keys from a file. Replacing it by a rename and writing it in place both work: what is half written does not
    parse, and is looked at again a second later.

    Args:
        source: Which file, and what it holds.
        executor: Where it is read and parsed: a disk may be slow, and a network file system may hang.
        now: The wall clock, in seconds; what time stamps are compared with.
    """

    def __init__(self, source: JwksFile | PemFile, executor: Executor, *, now: Callable[[], float] = time.time) -> None:
        self._source = source
        self._executor = executor
        self._now = now
        self._settled: tuple[tuple[int, ...], _Outcome] | None = None
        self._reading: asyncio.Future[_Outcome] | None = None

    async def load(self) -> Loaded:
        """As in KeyLoader. Costs one look at the file's time stamps while it stays as it is."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                # A read that hung is let go to its end first: it may have seen an older file, and one thread is enough.
                await self._read_over()
                self._reading = asyncio.get_running_loop().run_in_executor(self._executor, self._read)
                await self._read_over()
        except TimeoutError:
            raise self._failure("the file system does not answer") from None
        outcome = self._reading.result()
        if isinstance(outcome, str):
            raise self._failure(outcome)
        return Loaded(outcome, POLL_SECONDS)

    def retry_in(self, failures: int, *, without_keys: bool) -> float:
        """As in KeyLoader. A file is no farther away for having been broken."""
        return POLL_SECONDS

    def _failure(self, problem: str) -> LoadFailed:
        return LoadFailed(f"{shown_path(self._source.path)}: {problem}")

    async def _read_over(self) -> None:
        if self._reading is not None:
            await asyncio.wait({self._reading})

    def _read(self) -> _Outcome:
        try:
            # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
            descriptor = os.open(self._source.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                return self._outcome_of(descriptor, file)
        except OSError as error:
            return in_words(error)

    def _outcome_of(self, descriptor: int, file: BinaryIO) -> _Outcome:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return "not a regular file"
        # Taken before reading: what is written meanwhile changes it, and is seen next time.
        signature = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        if self._settled is not None and self._settled[0] == signature:
            return self._settled[1]
        outcome = self._outcome(file.read(MAX_DOCUMENT_BYTES + 1))
        self._settled = (signature, outcome) if self._now() - facts.st_ctime > SETTLED_AFTER_SECONDS else None
        return outcome

    def _outcome(self, document: bytes) -> _Outcome:
        try:
            if isinstance(self._source, JwksFile):
                return usable(parse_jwks(document))
            return _pem_content(document, self._source)
        except NotAKeySet as error:
            return f"no key set: {error}"
        except (NoUsableKey, _NoPublicKey) as problem:
            return str(problem)


class _NoPublicKey(Exception):
    """A PEM file is not what it should be. The message says in what way."""


def _pem_content(document: bytes, source: PemFile) -> JwksContent:
    if len(document) > MAX_DOCUMENT_BYTES:
        raise _NoPublicKey(f"larger than {MAX_DOCUMENT_BYTES} bytes")
    if b"PRIVATE KEY" in document:
        raise _NoPublicKey("it holds a private key; the sidecar must only be given the public one")
    try:
        key = load_pem_public_key(document)
    except (ValueError, UnsupportedAlgorithm):  # cryptography's; the text may quote the file
        raise _NoPublicKey("no public key in PEM form") from None
    if not isinstance(key, PublicKey):
        raise _NoPublicKey("it holds a key of a type that tokens are not verified with")
    try:
        usable = verification_key(key, key_id=source.key_id, algorithm=source.algorithm)
    except UnusableKey as error:
        raise _NoPublicKey(f"its key is not fit for use: {error}") from None
    # PEM has no place for a `kid`; most issuers write one into their tokens all the same.
    return JwksContent((replace(usable, serves_any_key_id=source.key_id is None),))
