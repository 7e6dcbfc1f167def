"""How subjects are spelled, and that no two of them are spelled alike."""

import pytest
from sidegate_sidecar.access import check_subject
from sidegate_sidecar.access.grants import dns_subject, issuer_of_subject, token_subject, uri_subject


@pytest.mark.parametrize(
    "subject",
    [
        "mtls:spiffe://cluster.example/ns/login/sa/web",
        "mtls:urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
        "mtls:login",
        "mtls:login-1.internal_zone.example",
        "token:https://issuer.example#machine",
        "token:https://kubernetes.default.svc#system:serviceaccount:ns:name",
        "token:https://issuer.example#a#b",
    ],
)
def test_a_subject_that_a_caller_can_have_is_taken(subject: str) -> None:
    check_subject(subject)


@pytest.mark.parametrize(
    ("subject", "problem"),
    [
        ("", "must begin with"),
        ("login", "must begin with"),
        ("MTLS:login", "must begin with"),
        ("local-socket", "must begin with"),
        ("mtls:", "must name"),
        ("mtls:*.example", "wildcard"),
        ("mtls:spiffe://*/ns", "wildcard"),
        ("mtls:Login", "in lower case"),
        ("mtls:login.", "must name"),
        ("mtls:-login", "must name"),
        ("mtls:a b", "must name"),
        ("mtls:spiffe://é", "must name"),
        ("token:", "the issuer, # and the user"),
        ("token:https://issuer.example", "the issuer, # and the user"),
        ("token:#machine", "the issuer, # and the user"),
        ("token:https://issuer.example#", "the issuer, # and the user"),
    ],
)
def test_a_subject_that_no_caller_can_have_is_refused(subject: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        check_subject(subject)


def test_a_dns_name_is_the_same_in_any_case() -> None:
    assert dns_subject("Login.Internal") == dns_subject("login.internal") == "mtls:login.internal"


@pytest.mark.parametrize(
    "name", ["", "*.example", "a..b", "spiffe://x/y", "a:b", "a\x00b", "login\n", "\u212a", "x" * 64]
)
def test_what_is_no_dns_name_names_nobody(name: str) -> None:
    assert dns_subject(name) is None


@pytest.mark.parametrize(
    "uri", ["", "login", "login.internal", "a b:c", "spiffe://x\n", "://x", "1a:b", "x:" + "y" * 511]
)
def test_what_is_no_uri_names_nobody(uri: str) -> None:
    assert uri_subject(uri) is None


def test_the_issuer_of_a_subject_ends_at_the_first_number_sign() -> None:
    assert issuer_of_subject(token_subject("https://issuer.example", "a#b")) == "https://issuer.example"
    assert issuer_of_subject("mtls:token:x#y") is None
