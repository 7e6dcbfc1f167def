"""A service's surroundings as in production: an issuer, PostgreSQL, a sidecar beside the service, another elsewhere."""

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sidegate import RevocationClient, SessionClient

from tests.fakes.issuer import FakeIssuer
from tests.integration.sidecar.processes import Sidecar, file_issuer, issuers_setting, running_sidecar


class Deployment:
    """Two sidecars of one database. The one elsewhere has the admin services; the one beside the service forwards
    sign-outs to it, and can be stopped.

    Args:
        url: Of the database.
        folder: For sockets, logs and keys. The path must be short.
    """

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self._issuer = FakeIssuer()
        self._settings = {"store_url": url, "issuers": issuers_setting(file_issuer(self._issuer, folder))}
        self._folder = folder
        self._stack = stack
        for name in ("elsewhere", "beside"):
            (folder / name).mkdir()
        self._elsewhere = stack.enter_context(running_sidecar(folder / "elsewhere", **self._settings))
        self.admin: RevocationClient = stack.enter_context(self._elsewhere.administration())
        self._beside = self.start()

    @property
    def target(self) -> str:
        """Where the sidecar beside the service listens."""
        return self._beside.target

    def start(self) -> Sidecar:
        """Start the sidecar beside the service, again too."""
        settings = {**self._settings, "admin_listen": "", "admin_target": self._elsewhere.admin_target}
        self._beside = self._stack.enter_context(running_sidecar(self._folder / "beside", **settings))
        return self._beside

    def stop(self) -> None:
        """Stop the sidecar beside the service."""
        assert self._beside.stop() == 0

    def sign_in(self, user: str, handle: str) -> str:
        """Register a session, and issue a token of it."""
        self.admin.register_session(handle, user, session_expire_time=datetime.now(UTC) + timedelta(hours=1))
        return self._issuer.mint(user, handle)

    def elsewhere(self) -> SessionClient:
        """A client of the other sidecar. The caller closes it."""
        return SessionClient(self._elsewhere.target, timeout=20, near_cache=False)


@contextmanager
def deployed(url: str, folder: Path) -> Generator[Deployment, None, None]:
    """Everything but the service. Ended with the block."""
    with ExitStack() as stack:
        yield Deployment(url, folder, stack)
