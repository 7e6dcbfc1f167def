"""The clients that Django's integration makes, as settings and environment change between tests of a service."""

import threading

import pytest
from sidegate.testing import FakeSidecar

from tests.integration.web import django_app
from tests.integration.web.in_process import Sent, call_wsgi


def feeds() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "sidegate-feed"}


def status_of_request(token: str) -> int:
    return call_wsgi(
        django_app.wsgi_application, Sent("GET", "/required", [("Authorization", f"Bearer {token}")])
    ).status


def test_each_test_has_its_own_sidecar_and_none_leaves_a_client_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before = feeds()

    for _ in range(3):
        with FakeSidecar() as sidecar:
            monkeypatch.setenv("SIDEGATE_TARGET", sidecar.target)
            assert status_of_request(sidecar.issue_token()) == 200

    assert len(feeds() - before) == 1


def test_a_setting_wins_over_the_environment(sidecar: FakeSidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    from django.test.utils import override_settings

    monkeypatch.setenv("SIDEGATE_TARGET", "unix:///nowhere")

    with override_settings(SIDEGATE_TARGET=sidecar.target):
        assert status_of_request(sidecar.issue_token()) == 200
