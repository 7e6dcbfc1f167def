"""Ed25519 keys for which anybody can sign."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sidegate_sidecar.keys import parse_jwks

from tests.unit.keys.key_material import base64url, ed25519_jwk, jwks

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def double(x: int, y: int) -> tuple[int, int]:
    """Add a point of edwards25519 to itself (RFC 8032 §5.1.4, affine)."""
    product = D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, P) % P,
        (y * y + x * x) * pow(1 - product, -1, P) % P,
    )


def x_of(y: int) -> int:
    """RFC 8032 §5.1.3."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    root = pow(square, (P + 3) // 8, P)
    if (root * root - square) % P:
        root = root * pow(2, (P - 1) // 4, P) % P
    assert (root * root - square) % P == 0
    return root


def small_order_points() -> list[bytes]:
    """Every point that eight times itself is neutral: each y in every spelling of 255 bits, with both signs."""
    order_8 = next(
        y
        for y in (
            0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
            0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD83D3D706A17C7,
        )
        if double(*double(*double(x_of(y), y))) == (0, 1)
    )
    ys = {0, 1, P - 1, order_8, P - order_8}
    assert all(double(*double(*double(x_of(y), y))) == (0, 1) for y in ys)
    spellings = ys | {y + P for y in ys if y + P < 2**255}
    return [(y | sign << 255).to_bytes(32, "little") for y in sorted(spellings) for sign in (0, 1)]


@pytest.mark.parametrize("point", small_order_points(), ids=bytes.hex)
def test_an_ed25519_key_of_small_order_is_dropped(point: bytes) -> None:
    assert parse_jwks(jwks(ed25519_jwk(x=base64url(point)))).keys == ()


def test_without_that_anybody_could_sign_with_the_neutral_point() -> None:
    neutral = b"\x01" + bytes(31)

    Ed25519PublicKey.from_public_bytes(neutral).verify(neutral + bytes(32), b"whatever one likes")
