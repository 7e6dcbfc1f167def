"""Unix sockets at the longest path that there is, and past it."""

import os
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2
from sidegate_sidecar.errors import ListenerUnavailable
from sidegate_sidecar.listener import MAX_SOCKET_PATH_BYTES, Listener
from sidegate_sidecar.rpc.server import DATA_SOCKET_MODE, Endpoint

TIMEOUT = 30


def path_of(folder: Path, length: int) -> Path:
    """A socket's path of exactly that length."""
    return folder / ("s" * (length - len(f"{folder}/")))


def endpoint(path: Path) -> Endpoint:
    return Endpoint([], [Listener(path=path)], socket_mode=DATA_SOCKET_MODE, reflection_enabled=False)


async def test_the_longest_path_is_listened_on(short_folder: Path) -> None:
    path = path_of(short_folder, MAX_SOCKET_PATH_BYTES)
    server = endpoint(path)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            await check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    finally:
        await server.stop(0)


async def test_a_longer_one_is_refused_with_its_length_and_the_limit(short_folder: Path) -> None:
    server = endpoint(path_of(short_folder, MAX_SOCKET_PATH_BYTES + 1))
    try:
        with pytest.raises(ListenerUnavailable, match=r"^cannot listen on .* at most 107 bytes, and this one has 108$"):
            await server.start()
    finally:
        await server.stop(0)
    assert not any(os.scandir(short_folder))
