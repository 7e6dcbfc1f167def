"""Addresses as gRPC spells them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sidegate_sidecar.listener import MAX_SOCKET_PATH_BYTES, Listener


@pytest.mark.parametrize(
    ("written", "listener"),
    [
        ("unix:///run/s.sock", Listener(path=Path("/run/s.sock"))),
        ("unix:/run/s.sock", Listener(path=Path("/run/s.sock"))),
        ("127.0.0.1:8080", Listener(host="127.0.0.1", port=8080)),
        ("localhost:0", Listener(host="localhost", port=0)),
        ("[::1]:65535", Listener(host="::1", port=65_535)),
    ],
)
def test_an_address_is_read(written: str, listener: Listener) -> None:
    assert Listener.parse(written) == listener


@pytest.mark.parametrize(
    "written",
    [
        *("", "8080", ":8080", "localhost", "localhost:", "localhost:http", "localhost:-1"),
        *("localhost:٣", "unix:", "unix:run/s.sock", "unix://run/s.sock", "unix-abstract:"),
    ],
)
def test_what_is_no_address_is_refused_with_what_to_write(written: str) -> None:
    with pytest.raises(ValueError, match=r"unix:///"):
        Listener.parse(written)


@pytest.mark.parametrize("port", ["65536", "70000", "9" * 5000], ids=["one too many", "70000", "5,000 digits"])
def test_a_port_that_does_not_exist_is_refused_as_that(port: str) -> None:
    with pytest.raises(ValueError, match=r"a port is at most 65535$"):
        Listener.parse(f"localhost:{port}")


@pytest.mark.parametrize("name", ["s" * 103, "ß" * 51 + "s"], ids=["ASCII", "two bytes a letter"])
def test_a_socket_whose_path_is_too_long_is_refused_with_its_length_and_the_limit(name: str) -> None:
    longest = f"/run/{name[:-1]}"

    assert Listener.parse(f"unix://{longest}").path == Path(longest)
    with pytest.raises(ValueError, match=r"at most 107 bytes, and this one has 108$"):
        Listener.parse(f"unix://{longest}{'s' * (108 - len(longest.encode()))}")


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("unix:///run/s", "unix:/run/s", True),
        ("unix:///run/s", "unix:///run/t", False),
        ("127.0.0.1:1", "127.0.0.1:1", True),
        ("127.0.0.1:1", "127.0.0.1:2", False),
        ("127.0.0.1:0", "127.0.0.1:0", False),
    ],
)
def test_no_two_listen_in_one_place(one: str, other: str, clash: bool) -> None:
    assert Listener.parse(one).clashes_with(Listener.parse(other)) is clash


paths = st.text(st.characters(exclude_characters="\0/", codec="utf-8"), min_size=1).filter(lambda name: name != ".")
short_paths = paths.map(lambda name: Path("/run", name)).filter(lambda path: len(bytes(path)) <= MAX_SOCKET_PATH_BYTES)
listeners = st.builds(Listener, path=short_paths) | st.builds(
    Listener,
    host=st.ip_addresses().map(str) | st.from_regex(r"[a-z][a-z0-9-]{0,20}\.example", fullmatch=True),
    port=st.integers(0, 65_535),
)


@given(listeners)
def test_an_address_is_read_as_it_is_shown(listener: Listener) -> None:
    assert Listener.parse(str(listener)) == listener


@pytest.mark.parametrize(
    ("written", "local"),
    [
        ("unix:///s", True),
        ("localhost:1", True),
        ("127.0.0.1:1", True),
        ("127.8.9.10:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example:1", False),
        ("127.0.0.1.example:1", False),
    ],
)
def test_only_this_host_reaches_loopback(written: str, local: bool) -> None:
    assert Listener.parse(written).is_local is local
