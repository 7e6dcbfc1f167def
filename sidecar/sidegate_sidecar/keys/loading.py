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
    """No usable keys this time. The message says why, for an operator: no URL, no header, nothing of the document."""


class KeyLoader(Protocol):
    """Loads the keys of one issuer. Never two loads at a time."""

    async def load(self) -> Loaded:
        """Ask the source. Bounded in time and memory, and never holds up the event loop.

        Raises:
            LoadFailed: And nothing else on account of what the source does.
        """
        ...

    def retry_in(self, failures: int) -> float:
        """How long to wait, in seconds, after so many failures in a row (1 or more)."""
        ...


def usable(content: JwksContent) -> JwksContent:
    """Refuse a set without a usable key: an issuer that signs has one, so that is a fault of the document's making.

    Raises:
        LoadFailed: There is none.
    """
    if not content.keys:
        raise LoadFailed("the key set holds no usable key")
    return content
