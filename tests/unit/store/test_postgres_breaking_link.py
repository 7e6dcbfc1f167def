"""A link to PostgreSQL that breaks in the middle of what the server says."""

from sidegate_sidecar.errors import StoreUnavailable
from sidegate_sidecar.store.postgres import PostgresStore

from tests.fakes.postgres import SUPERUSER, Database
from tests.fakes.postgres_wire import Message
from tests.fakes.proxy import Proxy


class BreaksAfter:
    """Lets so many messages pass, and then breaks the link."""

    def __init__(self) -> None:
        self.left = 0

    def __call__(self, message: Message) -> bool:
        self.left -= 1
        if self.left < 0:
            raise ConnectionResetError
        return False


async def test_a_link_that_breaks_after_any_message_makes_the_store_unavailable_and_nothing_else(
    database: Database,
) -> None:
    """From the greeting on: a sidecar that starts survives this, and no other fault."""
    breaks, messages = BreaksAfter(), 0
    with Proxy(database.server.port, is_lost=breaks) as proxy:
        url = database.url_of(SUPERUSER, database.server.password, port=proxy.port)
        while True:
            breaks.left = messages
            store = PostgresStore(url)
            try:
                await store.open()
                await store.limits()
                await store.read_log(1, 10)
            except StoreUnavailable:
                messages += 1
            else:
                break
            finally:
                await store.close()
    assert messages > 20, "the greeting alone has more"
