"""The routes that the tests ask for, in Flask."""

from flask import Flask, g
from sidegate import SessionClient
from sidegate.integrations.flask import get_session, install, sign_out_view, verify_session
from sidegate.integrations.policy import WebPolicy

from tests.integration.web.routes import User, is_ada, user_of


def application(policy: WebPolicy, client: SessionClient | None = None) -> Flask:
    app = Flask(__name__)
    install(app, policy=policy, client=client)
    app.add_url_rule("/sign-out", view_func=sign_out_view, methods=["POST"])

    @app.route("/required", methods=["GET", "POST"])
    @verify_session()
    def required() -> User:
        return user_of(g.session)

    @app.route("/optional", methods=["GET", "POST"])
    @verify_session(session_required=False)
    def optional() -> User:
        return user_of(g.session)

    @app.get("/database")
    @verify_session(check_database=True)
    def database() -> User:
        return user_of(g.session)

    @app.get("/admin")
    @verify_session(require={"role": "admin", "level": 2})
    def admin() -> User:
        return user_of(g.session)

    @app.get("/ada")
    @verify_session(require=is_ada)
    def ada() -> User:
        return user_of(g.session)

    @app.get("/audience")
    @verify_session(audiences=["orders"])
    def audience() -> User:
        return user_of(g.session)

    @app.get("/tenant")
    @verify_session(tenant_id="acme")
    def tenant() -> User:
        return user_of(g.session)

    @app.get("/by-hand")
    def by_hand() -> User:
        return user_of(get_session())

    return app
