"""A Flask service behind sidegate."""

from flask import Flask, g
from sidegate.integrations.flask import install, sign_out_view, verify_session
from sidegate.integrations.policy import WebPolicy

app = Flask(__name__)
install(app, policy=WebPolicy(cookie="session"))
app.add_url_rule("/sign-out", view_func=sign_out_view, methods=["POST"])


@app.get("/")
@verify_session(session_required=False)
def greet() -> dict[str, str]:
    """For everybody."""
    return {"hello": g.session.user_id if g.session else "stranger"}


@app.get("/orders")
@verify_session()
def orders() -> dict[str, str]:
    """For who is signed in."""
    return {"orders of": g.session.user_id}


@app.post("/orders/cancel")
@verify_session(check_database=True)
def cancel() -> dict[str, str]:
    """Worth a look into the session database."""
    return {"cancelled by": g.session.user_id}


@app.get("/admin")
@verify_session(require={"role": "admin"})
def admin() -> dict[str, str]:
    """For whose token has the claim."""
    return {"administrator": g.session.user_id}
