"""Where `verify_session` stands among the decorators of a Flask view."""

from collections.abc import Iterator

import pytest
from flask import Blueprint, Flask
from sidegate import SessionClient
from sidegate.integrations.flask import install, verify_session
from sidegate.testing import FakeSidecar

from tests.integration.web.in_process import Reply, Sent, call_wsgi


@pytest.fixture
def app(sidecar: FakeSidecar) -> Iterator[Flask]:
    app = Flask(__name__)
    with SessionClient(sidecar.target, timeout=20.0) as client:
        install(app, client=client)
        yield app


def view() -> str:
    return "served"


def ask(app: Flask, path: str) -> Reply:
    return call_wsgi(app, Sent("GET", path))


def test_an_app_with_a_view_that_lost_its_guard_serves_nothing(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    @verify_session()
    @app.get("/orders")
    def orders() -> str:
        return view()

    app.add_url_rule("/other", view_func=verify_session()(view))

    assert [ask(app, path).status for path in ("/orders", "/other", "/orders")] == [500, 500, 500]
    assert "nothing guards the view 'orders'" in caplog.text


def test_a_view_of_a_blueprint_that_lost_its_guard_is_noticed_too(app: Flask) -> None:
    shop = Blueprint("shop", __name__)

    @verify_session()
    @shop.get("/orders")
    def orders() -> str:
        return view()

    app.register_blueprint(shop)

    assert ask(app, "/orders").status == 500


def test_a_guard_below_another_decorator_is_no_fault(app: Flask) -> None:
    @app.get("/orders")
    @verify_session()
    @verify_session(check_database=True)
    def orders() -> str:
        return view()

    assert ask(app, "/orders").status == 401


def test_a_view_may_be_served_with_its_guard_and_without(app: Flask) -> None:
    app.add_url_rule("/open", "open", view)
    app.add_url_rule("/guarded", "guarded", verify_session()(view))

    assert [ask(app, path).status for path in ("/open", "/guarded")] == [200, 401]


def test_a_view_that_cannot_be_referred_to_weakly_is_guarded(app: Flask) -> None:
    class Slotted:
        __slots__ = ()

        def __call__(self) -> str:
            return view()

    app.add_url_rule("/slotted", "slotted", verify_session()(Slotted()))

    assert ask(app, "/slotted").status == 401
