"""Each kind of source end to end: URL, discovery, TLS, file; and the addresses that none of them is fetched from."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from sidegate_sidecar.errors import KeysUnavailable
from sidegate_sidecar.keys import Discovery, IssuerKeysConfig, JwksFile, JwksUrl, KeySource
from sidegate_sidecar.model import KeySet

from tests.integration.keys.issuer_server import IssuerServer, configuration, key_set, respond, running, silence
from tests.integration.keys.rings import by_url, errors, key_ids, started, until
from tests.unit.keys.key_material import ed25519_jwk, jwks

CONFIGURATION_PATH = "/.well-known/openid-configuration"


def of(source: KeySource) -> IssuerKeysConfig:
    return IssuerKeysConfig("issuer", source)


# Cache-Control.


async def test_max_age_decides_when_keys_are_fetched_again(issuer: IssuerServer) -> None:
    issuer.publish(ed25519_jwk(kid="one"), max_age=1)
    config = IssuerKeysConfig("issuer", JwksUrl(issuer.url), min_refresh=0.1, default_refresh=3600)
    async with started(config) as ring:
        issuer.publish(ed25519_jwk(kid="two"))
        await until(lambda: key_ids(ring.key_set("issuer")) == {"two"})

        assert len(issuer.requests) == 2  # the second answer had no max-age


# Discovery.


async def test_discovery_finds_the_keys(issuer: IssuerServer) -> None:
    issuer.paths[CONFIGURATION_PATH] = configuration(issuer.url, issuer.url + "/jwks")
    issuer.paths["/jwks"] = key_set(ed25519_jwk(kid="found"))

    async with started(of(Discovery(issuer.url, headers={"X-Key": "secret"}))) as ring:
        assert key_ids(ring.key_set("issuer")) == {"found"}
        assert [request.headers.get("x-key") for request in issuer.requests] == ["secret", "secret"]


async def test_the_final_slash_of_an_issuer_is_its_own_but_not_the_paths(issuer: IssuerServer) -> None:
    issuer.paths["/realm" + CONFIGURATION_PATH] = configuration(issuer.url + "/realm/", issuer.url + "/jwks")
    issuer.paths["/jwks"] = key_set(ed25519_jwk(kid="found"))

    async with started(of(Discovery(issuer.url + "/realm/"))) as ring:
        assert key_ids(ring.key_set("issuer")) == {"found"}


async def test_a_header_is_not_sent_on_to_another_origin(issuer: IssuerServer) -> None:
    async with running(IssuerServer(key_set(ed25519_jwk(kid="found")))) as elsewhere:
        issuer.paths[CONFIGURATION_PATH] = configuration(issuer.url, elsewhere.url + "/jwks")

        async with started(of(Discovery(issuer.url, headers={"X-Key": "secret"}))) as ring:
            assert key_ids(ring.key_set("issuer")) == {"found"}
            assert "x-key" not in elsewhere.requests[0].headers


@pytest.mark.parametrize(
    ("jwks_uri", "error"),
    [
        ("file:///etc/passwd", "refused"),
        ("http://issuer.example/jwks", "refused"),
        ("https://user:secret@issuer.example/jwks", "refused"),
        ("https://169.254.169.254/jwks", "a link-local address"),
        ("", "refused"),
        (None, "names no jwks_uri"),
        (["https://issuer.example"], "names no jwks_uri"),
    ],
    ids=str,
)
async def test_discovery_leads_nowhere_that_a_setting_could_not(
    issuer: IssuerServer, jwks_uri: object, error: str
) -> None:
    issuer.paths[CONFIGURATION_PATH] = configuration(issuer.url, jwks_uri)

    async with started(of(Discovery(issuer.url))) as ring:
        assert error in errors(ring)[0]
        assert "secret" not in errors(ring)[0]
        assert len(issuer.requests) == 1


async def test_an_address_that_discovery_names_is_shown_without_its_secrets_and_printable(
    issuer: IssuerServer,
) -> None:
    issuer.paths[CONFIGURATION_PATH] = configuration(issuer.url, f"{issuer.url}/jwks\u202e\ud800?key=secret")
    issuer.answer = respond(b"", status="404 Not Found")

    async with started(of(Discovery(issuer.url))) as ring:
        assert errors(ring)[0].startswith(f"{issuer.url}/jwks\\u202e\\ud800: ")
        assert "secret" not in errors(ring)[0]


async def test_the_configuration_of_another_issuer_is_refused(issuer: IssuerServer) -> None:
    issuer.paths[CONFIGURATION_PATH] = configuration(issuer.url + "/", issuer.url + "/jwks")
    issuer.paths["/jwks"] = key_set(ed25519_jwk())

    async with started(of(Discovery(issuer.url))) as ring:
        assert "another issuer" in errors(ring)[0]


# TLS.


def self_signed(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """A server's context for localhost, and the certificate to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an issuer of a test")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key_file)
    return context, certificate_file


async def test_a_custom_ca_is_trusted_and_nothing_without_it(tmp_path: Path) -> None:
    context, ca_file = self_signed(tmp_path)
    async with running(IssuerServer(key_set(ed25519_jwk(kid="sealed"))), context) as issuer:
        by_name = JwksUrl(issuer.url, ca_file=ca_file)
        async with started(of(by_name)) as ring:
            assert key_ids(ring.key_set("issuer")) == {"sealed"}
        async with started(of(JwksUrl(issuer.url))) as ring:
            assert errors(ring) == [f"{issuer.url}: the server's certificate is not trusted (self-signed certificate)"]
        by_number = JwksUrl(issuer.url.replace("localhost", "127.0.0.1"), ca_file=ca_file)
        async with started(of(by_number)) as ring:
            assert errors(ring)[0].startswith(f"{by_number.url}: the server's certificate is not trusted (IP address")
        async with started(of(JwksUrl(issuer.url, ca_file=tmp_path / "missing"))) as ring:
            assert errors(ring) == [f"{issuer.url}: the CA file {tmp_path / 'missing'}: no such file or directory"]
        (tmp_path / "empty").write_bytes(b"")
        async with started(of(JwksUrl(issuer.url, ca_file=tmp_path / "empty"))) as ring:
            assert errors(ring) == [f"{issuer.url}: the CA file {tmp_path / 'empty'}: no certificate in PEM form"]


async def test_a_server_without_tls_behind_an_https_url_is_told_apart_from_one_that_is_not_trusted() -> None:
    async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(speak_plainly, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with started(of(JwksUrl(f"https://127.0.0.1:{port}"))) as ring:
            assert errors(ring)[0].endswith("does the server speak https?")


async def test_a_name_that_does_not_resolve_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_dns(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", no_dns)
    async with started(of(JwksUrl("https://issuer.example:8443/a/keys?token=secret"))) as ring:
        assert errors(ring) == ["https://issuer.example:8443/a/keys: the host's name cannot be resolved"]


# Addresses, checked when they are dialled.


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/keys",
        "http://[::ffff:169.254.169.254]/keys",
        "https://169.254.169.254/keys",
    ],
)
async def test_a_link_local_address_is_not_dialled_however_it_is_spelt(url: str) -> None:
    async with started(of(JwksUrl(url, allow_http=True))) as ring:
        assert errors(ring) == [f"{url}: the host is a link-local address"]


@pytest.mark.parametrize(
    ("url", "allow_http", "answer", "error"),
    [
        ("http://issuer.example/keys", True, "169.254.169.254", "the host is a link-local address"),
        ("https://issuer.example/keys", False, "100.100.100.200", "the host is a cloud's metadata address"),
        ("http://localhost/keys", False, "10.0.0.1", "the host is an address off this machine"),
    ],
)
async def test_it_is_what_a_name_resolves_to_that_is_checked(
    monkeypatch: pytest.MonkeyPatch, *, url: str, allow_http: bool, answer: str, error: str
) -> None:
    async def hostile_dns(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (str(ipaddress.ip_address(answer)), 80))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hostile_dns)
    async with started(of(JwksUrl(url, allow_http=allow_http))) as ring:
        assert errors(ring)[0].startswith(f"{url}: {error}")


async def test_a_name_that_changes_its_mind_is_asked_once_for_each_fetch(
    issuer: IssuerServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: harmless at first, link-local when asked again. What was checked is what is dialled."""
    issuer.publish(ed25519_jwk(kid="harmless"))
    answers = ["127.0.0.1", "169.254.169.254"]
    asked: list[str] = []

    async def rebinding_dns(*_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(answers[len(asked)])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (asked[-1], issuer.port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebinding_dns)
    source = JwksUrl(f"http://issuer.example:{issuer.port}/keys", allow_http=True)
    async with started(of(source)) as ring:
        assert key_ids(ring.key_set("issuer")) == {"harmless"}
        assert len(asked) == 1
        with pytest.raises(KeysUnavailable):
            await ring.key_set_with("issuer", "new")
        assert errors(ring) == [f"{source.url}: the host is a link-local address"]
        assert len(issuer.requests) == 1


# Files.


async def test_a_file_is_reloaded_when_it_changes_and_a_broken_one_costs_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    whole = jwks(ed25519_jwk(kid="one"))
    file.write_bytes(whole)
    async with started(of(JwksFile(file))) as ring:
        assert key_ids(ring.key_set("issuer")) == {"one"}

        file.write_bytes(whole[:-20])
        await until(lambda: errors(ring) != [""])
        assert key_ids(ring.key_set("issuer")) == {"one"}
        with pytest.raises(KeysUnavailable):
            await ring.key_set_with("issuer", "two")

        file.unlink()
        await until(lambda: errors(ring) == [f"{file}: no such file or directory"])
        assert key_ids(ring.key_set("issuer")) == {"one"}

        file.write_bytes(jwks(ed25519_jwk(kid="two")))
        await until(lambda: key_ids(ring.key_set("issuer")) == {"two"})
        assert errors(ring) == [""]


async def test_a_key_just_written_to_a_file_is_found_by_asking(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_bytes(jwks(ed25519_jwk(kid="one")))
    async with started(of(JwksFile(file))) as ring:
        file.write_bytes(jwks(ed25519_jwk(kid="one"), ed25519_jwk(kid="two")))

        assert key_ids(await ring.key_set_with("issuer", "two")) == {"one", "two"}


# The ring.


async def test_every_listener_hears_of_every_change_even_beside_one_that_fails(issuer: IssuerServer) -> None:
    heard: list[tuple[str, int, set[str]]] = []

    def deaf(issuer: str, key_set: KeySet) -> None:
        raise RuntimeError

    issuer.publish(ed25519_jwk(kid="one"))
    async with started(by_url(issuer)) as ring:
        ring.add_listener(deaf)
        ring.add_listener(lambda issuer, key_set: heard.append((issuer, key_set.generation, key_ids(key_set))))
        issuer.publish(ed25519_jwk(kid="two"))
        await ring.key_set_with("issuer", "two")

    assert heard == [("issuer", 2, {"two"})]


async def test_an_issuer_that_nobody_configured_is_a_fault_of_the_caller(issuer: IssuerServer) -> None:
    issuer.publish(ed25519_jwk())
    async with started(by_url(issuer)) as ring:
        with pytest.raises(KeyError):
            ring.key_set("another")


async def test_closing_ends_a_fetch_that_hangs(issuer: IssuerServer) -> None:
    issuer.publish(ed25519_jwk())
    async with started(by_url(issuer)) as ring:
        issuer.answer = silence
        waiting = asyncio.create_task(ring.key_set_with("issuer", "new"))
        await until(lambda: len(issuer.requests) == 2)

        await ring.close()

        with pytest.raises(KeysUnavailable):
            await waiting
