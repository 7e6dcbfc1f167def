"""Strangers at a listener: who gives way to whom, by a clock of the test's."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sidegate_sidecar.rpc.strangers import Connection, Strangers

MAX_BYTES = 1000
TOO_MUCH = "too much without a call"
TOO_MANY = "too many connections"


class Door:
    """A listener's strangers, each a connection that does nothing.

    Attributes:
        now: In seconds.
        refused: Who was, and why.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.refused: list[tuple[str, str]] = []
        self.strangers = Strangers(
            lambda address, cause: self.refused.append((address, cause)), MAX_BYTES, lambda: self.now
        )
        self._connections: list[Connection] = []

    def comes(self, name: str, *, shakes_hands: bool = True) -> Connection:
        """Somebody, at that address."""
        connection = asyncio.create_task(_nothing())
        self._connections.append(connection)
        self.strangers.came(connection, name)
        if shakes_hands:
            self.strangers.shook_hands(connection)
        return connection

    async def close(self) -> None:
        """End them all."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)


async def _nothing() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    door = Door()
    yield door
    await door.close()


async def test_who_sends_without_end_gives_way(door: Door) -> None:
    modest, greedy = door.comes("modest"), door.comes("greedy")
    door.now = 1
    door.strangers.sent(modest, 100)
    with pytest.raises(ConnectionAbortedError):
        door.strangers.sent(greedy, 901)
    assert door.refused == [("greedy", TOO_MUCH)]
    assert greedy.cancelling()
    assert not modest.cancelling()


async def test_many_who_send_little_and_wait_give_way_to_a_large_first_call(door: Door) -> None:
    waiting = [door.comes(f"waiting {number}") for number in range(9)]
    for each in waiting:
        door.now += 1
        door.strangers.sent(each, 100)
    caller = door.comes("caller")
    door.now += 0.1
    door.strangers.sent(caller, 500)
    assert door.refused == [(f"waiting {number}", TOO_MUCH) for number in range(4)]
    assert not caller.cancelling()


async def test_who_gave_way_may_send_no_more(door: Door) -> None:
    greedy = door.comes("greedy")
    for _ in range(2):
        with pytest.raises(ConnectionAbortedError):
            door.strangers.sent(greedy, MAX_BYTES + 1)
    assert len(door.refused) == 1


async def test_what_was_sent_counts_until_a_call_is_let_through_or_the_connection_ends(door: Door) -> None:
    caller, gone, third = door.comes("caller"), door.comes("gone"), door.comes("third")
    door.strangers.sent(caller, 500)
    door.strangers.sent(gone, 500)
    door.strangers.let_through(caller)
    door.strangers.forget(gone)
    door.strangers.sent(third, MAX_BYTES)
    assert door.refused == []
    assert door.strangers.knows(caller)
    assert not door.strangers.knows(third)


async def test_of_whichever_are_more_the_oldest_makes_room(door: Door) -> None:
    for number in range(2):
        door.comes(f"shaking {number}", shakes_hands=False)
    for number in range(3):
        door.comes(f"silent {number}")
    assert [door.strangers.make_room() for _ in range(3)] == [True] * 3
    assert door.refused == [("silent 0", TOO_MANY), ("shaking 0", TOO_MANY), ("silent 1", TOO_MANY)]


async def test_who_was_let_through_makes_no_room(door: Door) -> None:
    door.strangers.let_through(door.comes("caller"))
    assert not door.strangers.make_room()
    assert door.refused == []
