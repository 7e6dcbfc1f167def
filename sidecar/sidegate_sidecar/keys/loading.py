"""What loading an issuer's keys once means, whatever they are loaded from."""

from dataclasses import dataclass
from typing import Protocol

from sidegate_sidecar.keys.jwks import JwksContent


@dataclass(frozen=True, slots=True)
class Loaded:
    """An issuer's confirmed keys.

    Attributes:
        content: At least one usable key.
        refresh_in: How long until they should be loaded again, in seconds.
    """

    content: JwksContent
    refresh_in: float


class LoadFailed(Exception):
    """No usable keys this time. The message says what could not be had and why, for an operator: no URL's user
    information or query, no header, and nothing of the document but the address that it names.
    """


class KeyLoader(Protocol):
    """Loads the keys of one issuer. Never two loads at a time."""

    async def load(self) -> Loaded:
        """Ask the source. Bounded in time and memory, and never holds up the event loop.

        Raises:
            LoadFailed: And nothing else on account of what the source does.
        """
        ...

    def retry_in(self, failures: int, *, without_keys: bool) -> float:
        """How long to wait, in seconds, after so many failures in a row (1 or more).

        Args:
            without_keys: Whether no token of the issuer can be verified until there is an answer.
        """
        ...


class NoUsableKey(Exception):
    """A document is a key set, and nothing in it can verify a token."""


def usable(content: JwksContent) -> JwksContent:
    """Refuse a set without a usable key: an issuer that signs has one, so that is a fault of the document's making.

    Raises:
        NoUsableKey: There is none.
    """
    if not content.keys:
        raise NoUsableKey("the key set holds no usable key")
    return content
