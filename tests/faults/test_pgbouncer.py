"""The real PgBouncer between argosy and PostgreSQL: it works, or it is refused in words that say what to set."""

from contextlib import closing

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from argosy.client import Client
from argosy.errors import NotConfigured
from argosy.processes.tracker import Tracker
from argosy.settings import Settings
from argosy.store import database, migrate
from tests.faults.pgbouncer import BINARY, pgbouncer
from tests.support.stack import Direct

pytestmark = pytest.mark.skipif(BINARY is None, reason="pgbouncer is not installed: apt-get install pgbouncer")


def by(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url)})


@pytest.mark.parametrize("round_robin", ["0", "1"])
@pytest.mark.parametrize("ignored", ["", "options"], ids=["by default", "startup options ignored"])
async def test_pgbouncer_in_transaction_mode_is_refused_at_start_in_words(
    settings: Settings, database_url: str, ignored: str, round_robin: str
) -> None:
    """There no time-out of a session holds, and nothing that is listened for is heard."""
    with pgbouncer(
        database_url, pool_mode="transaction", ignore_startup_parameters=ignored, server_round_robin=round_robin
    ) as url:
        there = by(settings, url)
        with closing(Client(there)) as client:
            for _ in range(3):  # sessions that are there already change nothing
                with pytest.raises(NotConfigured, match="pool_mode = session"):
                    client.clusters()
        with pytest.raises(NotConfigured, match="pool_mode = session"):
            Direct(there)
        with pytest.raises(NotConfigured, match="pool_mode = session"):
            migrate.upgrade(there)


@pytest.mark.parametrize("ignored", ["", "options"], ids=["by default", "startup options ignored"])
async def test_with_pgbouncer_in_session_mode_every_session_has_its_time_outs_and_a_listener_hears(
    settings: Settings, database_url: str, ignored: str
) -> None:
    with pgbouncer(database_url, pool_mode="session", ignore_startup_parameters=ignored) as url:
        there = by(settings, url)
        engine = database.engine(there)
        for _ in range(2):  # a session is another's before, and cleaned
            with engine.connect() as connection:
                shown = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
                assert (shown, connection.execute(text("SHOW timezone")).scalar_one()) == ("10s", "UTC")
            engine.dispose()
        async with await database.listener(there) as listening:
            await listening.execute("LISTEN argosy_test")
            with engine.begin() as connection:
                connection.execute(text("NOTIFY argosy_test, 'x'"))
            async for notice in listening.notifies(timeout=20, stop_after=1):
                assert notice.payload == "x"
        engine.dispose()
        with closing(Client(there)) as client:
            assert client.clusters() == []
        wakeups = Direct(there)
        Tracker(wakeups.engine, there, wakeups)
        wakeups.engine.dispose()
