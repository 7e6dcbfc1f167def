"""Where a sidecar without an admin listener has sign-outs done, and by what it is known there."""

from collections.abc import Mapping

from sidegate_sidecar.listener import Listener
from sidegate_sidecar.settings.values import PREFIX

_PROOF = f"{PREFIX}ADMIN_CERT and {PREFIX}ADMIN_KEY, or {PREFIX}ADMIN_TOKEN_FILE"


def check_admin_target(target: Listener, settings: Mapping[str, object]) -> None:
    """Refuse a target that would be told in the clear, or that would not know who calls.

    Args:
        target: Where.
        settings: Those that are right in themselves; what is missing here is wrong, and said to be.

    Raises:
        ValueError: Saying what to set.
    """
    if target.path is None and not target.port:
        raise ValueError(f"{target}: needs a port")
    if {"admin_ca", "admin_cert", "admin_key", "admin_token_file"} - settings.keys():
        return
    is_known = settings["admin_cert"] is not None or settings["admin_token_file"] is not None
    by_tls = is_known or settings["admin_ca"] is not None
    if target.path is not None and by_tls:
        raise ValueError(
            f"{target}: a Unix socket takes neither TLS nor a token; unset {PREFIX}ADMIN_CA, {PREFIX}ADMIN_CERT,"
            f" {PREFIX}ADMIN_KEY and {PREFIX}ADMIN_TOKEN_FILE"
        )
    if by_tls and not is_known:
        raise ValueError(f"{target}: nobody would know there who is calling; set {_PROOF}")
    if not by_tls and not target.is_local:
        raise ValueError(
            f"{target}: what is sent there is neither encrypted nor authenticated; keep it on this host,"
            f" or set {_PROOF}"
        )
