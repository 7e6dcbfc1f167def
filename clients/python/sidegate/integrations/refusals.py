"""Requests that are refused before or after the sidecar is asked. What it says itself is the client's own errors."""

from enum import StrEnum

from sidegate.errors import SidegateError


def without_frames(error: SidegateError) -> SidegateError:
    """The error without the frames that it has come through in the client: their variables hold the token, and error
    reports, such as Django's, print variables. To be raised `from None`.
    """
    return error.with_traceback(None)


class CredentialsProblem(StrEnum):
    """What is wrong with how a request brings its token."""

    NO_CREDENTIALS = "NO_CREDENTIALS"
    MALFORMED_CREDENTIALS = "MALFORMED_CREDENTIALS"
    DUPLICATE_CREDENTIALS = "DUPLICATE_CREDENTIALS"


class RequestRefused(SidegateError):
    """The request is refused, whatever its token is worth. Raised as one of the kinds below; all of it may be shown to
    the caller.

    Attributes:
        message: One sentence for a developer. Never holds a token or a claim's value.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class CredentialsRefused(RequestRefused):
    """There is no token, or no telling which it is. No verdict was asked for."""

    def __init__(self, problem: CredentialsProblem, message: str) -> None:
        super().__init__(message)
        self.args = (problem, message)  # what unpickling passes
        self.problem = problem


class CsrfRefused(RequestRefused):
    """A request by cookie lacks the custom header. Nothing that the user does can help; the calling code must."""


class ScopeRefused(RequestRefused):
    """A sign-out names no scope that there is, or one for which its token would have to name a session."""


class ClaimRequirementFailed(RequestRefused):
    """The session is good and does not meet what the route requires of it.

    Attributes:
        requirement: The claim's name, or the name of the function that said no.
    """

    def __init__(self, requirement: str) -> None:
        super().__init__(f"the session does not meet the requirement {requirement!r}")
        self.args = (requirement,)  # what unpickling passes
        self.requirement = requirement
