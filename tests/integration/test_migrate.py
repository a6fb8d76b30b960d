"""Changes of the schema on a real PostgreSQL: interrupted, beside writers, and back."""

import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Connection, Engine, text
from typer.testing import CliRunner, Result

from argosy import settings as settings_module
from argosy.cli import app
from argosy.client import Client
from argosy.errors import Conflict, InvalidRequest, NotConfigured
from argosy.settings import Settings
from argosy.store import migrate, processes, schema
from argosy.store.processes import TRACKER, WORKER


class Add(Protocol):
    """Adds a migration after the newest one."""

    def __call__(self, body: str, serves: str = ...) -> str:
        """Returns its number."""


_MIGRATION = '''"""one of a test"""

from alembic import op

from argosy.store.migrations import steps

revision = "{revision}"
down_revision = "{before}"
serves = "{serves}"


def upgrade() -> None:
    {body}


def downgrade() -> None:
    op.execute("SELECT 'argosy'")
'''


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Add:
    place = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, place, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(schema, "MIGRATIONS", place)

    def added(body: str, serves: str = schema.NEWEST) -> str:
        before = max(file.name[:4] for file in (place / "versions").glob("0*.py"))
        revision = f"{int(before) + 1:04}"
        source = _MIGRATION.format(revision=revision, before=before, body=body, serves=serves)
        (place / "versions" / f"{revision}_of_a_test.py").write_text(source)
        return revision

    return added


def alive(connection: Connection, kind: str, revision: str) -> None:
    fields = {"host": "here", "pid": 1, "version": "0.0.1", "trouble": "", "error": "", "error_age": None}
    processes.renew(connection, id=f"{kind}/1", kind=kind, revision=revision, **fields)  # type: ignore[arg-type]


def revision(engine: Engine) -> str:
    with engine.connect() as connection:
        return schema.revision(connection)


def serves(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text("SELECT serves FROM argosy.installation")).scalar_one())


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def test_an_upgrade_that_was_interrupted_goes_on_where_it_was(settings: Settings, engine: Engine, add: Add) -> None:
    first = add('op.execute("CREATE TABLE argosy.first (a int)")')
    second = add('op.execute("ALTER TABLE argosy.second ADD COLUMN a int")')
    with pytest.raises(Exception, match="second"):
        migrate.upgrade(settings, second)
    assert revision(engine) == first
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE argosy.second ()"))
    assert migrate.upgrade(settings, second) == second


def test_an_index_is_built_while_others_write_and_one_that_was_left_half_built_is_made_anew(
    settings: Settings, engine: Engine, add: Add, beside: ThreadPoolExecutor
) -> None:
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE argosy.numbers (a int)"))
        connection.execute(text("INSERT INTO argosy.numbers VALUES (1), (1)"))
    body = 'steps.create_index("ix_numbers", "numbers", ["a"], unique=True)'
    number = add(body)
    with pytest.raises(Exception, match="ix_numbers"):
        migrate.upgrade(settings, number)  # two rows have the same
    valid = text("SELECT indisvalid FROM pg_index WHERE indexrelid = 'argosy.ix_numbers'::regclass")
    with engine.begin() as connection:
        assert connection.execute(valid).scalar_one() is False
        connection.execute(text("DELETE FROM argosy.numbers"))
    with engine.begin() as writer:
        writer.execute(text("INSERT INTO argosy.numbers VALUES (2)"))
        upgrade = beside.submit(migrate.upgrade, settings, number)
        waits_for_writers(engine, upgrade)
        with engine.begin() as other:
            other.execute(text("INSERT INTO argosy.numbers VALUES (3)"))
    assert upgrade.result(60) == number
    with engine.connect() as connection:
        assert connection.execute(valid).scalar_one() is True


def waits_for_writers(engine: Engine, upgrade: "Future[str]") -> None:
    """Once the build of an index waits for a transaction that is open."""
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INDEX CONCURRENTLY%' "
        "AND pid <> pg_backend_pid() AND datname = current_database()"
    )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.execute(waits).scalar_one():
            assert not upgrade.done()


def test_many_rows_are_changed_in_batches_each_committed(settings: Settings, engine: Engine, add: Add) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE argosy.numbers AS SELECT generate_series(1, 25) AS a, '' AS b, '0'::xid8 AS x")
        )
    where = "WHERE a IN (SELECT a FROM argosy.numbers WHERE b = '' LIMIT 10)"
    migrate.upgrade(
        settings, add(f"steps.in_batches(\"UPDATE argosy.numbers SET b = 'new', x = pg_current_xact_id() {where}\")")
    )
    with engine.connect() as connection:
        counted = connection.execute(text("SELECT count(*) FROM argosy.numbers WHERE b = 'new' GROUP BY x ORDER BY 1"))
        assert counted.scalars().all() == [5, 10, 10]


def test_an_upgrade_that_waits_for_a_lock_lets_the_others_pass_again_and_again(
    settings: Settings, engine: Engine, add: Add, beside: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(migrate.LIMITS, "lock_timeout", "100ms")
    number = add('op.execute("ALTER TABLE argosy.job ADD COLUMN a int")')
    read = text("SELECT count(*) FROM argosy.job")
    with engine.connect() as reader:
        reader.execute(read)  # and the lock of a read, until the end of the block
        upgrade = beside.submit(migrate.upgrade, settings, number)
        for _ in range(20):
            with engine.connect() as other:
                other.execute(read)  # would time out behind an upgrade that waits
        assert not upgrade.done()
    assert upgrade.result(60) == number


def test_an_upgrade_of_two_tables_gives_way_before_a_reader_of_both_is_ended_by_a_deadlock(engine: Engine) -> None:
    """Found by the release before: its `client.list` was ended. Who has waited for a second looks for deadlocks, and ends itself."""
    shorter = text(
        "SELECT CAST(:limit AS interval) < CAST(setting || unit AS interval) FROM pg_settings WHERE name = 'deadlock_timeout'"
    )
    with engine.connect() as connection:
        assert connection.execute(shorter, {"limit": migrate.LIMITS["lock_timeout"]}).scalar_one() is True


def test_what_older_processes_use_is_not_taken_from_them_while_they_are_alive(
    settings: Settings, engine: Engine, add: Add
) -> None:
    harmless = add('op.execute("CREATE TABLE argosy.first (a int)")', "0015")
    contracting = add('op.execute("ALTER TABLE argosy.launch DROP COLUMN webhook")', schema.NEWEST)
    with engine.begin() as connection:
        alive(connection, WORKER, "0015")
        alive(connection, TRACKER, schema.NEWEST)
    assert migrate.upgrade(settings, harmless) == harmless
    with pytest.raises(Conflict, match=r"stop them first: worker here/1 \(0\.0\.1\)$"):
        migrate.upgrade(settings, contracting)
    assert revision(engine) == harmless
    with engine.begin() as connection:
        processes.end(connection, "worker/1")
    assert migrate.upgrade(settings, contracting) == contracting
    assert serves(engine) == schema.NEWEST
    schema.check(engine)  # this code knows as much as is needed, though it does not know the newest


def test_code_that_is_too_old_for_the_schema_is_told_so(settings: Settings, engine: Engine, add: Add) -> None:
    migrate.upgrade(settings, add("pass", schema.NEWEST))
    number = add("pass", f"{int(schema.NEWEST) + 1:04}")
    migrate.upgrade(settings, number)
    with pytest.raises(NotConfigured, match="run a newer argosy"):
        schema.check(engine)
    migrate.upgrade(settings)  # head is what this code knows: nothing is taken back
    assert revision(engine) == number


def run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *words: str, answer: str | None = None) -> Result:
    monkeypatch.setenv("ARGOSY_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setattr("sys.stdin.isatty", lambda: answer is not None, raising=False)
    settings_module.load.cache_clear()
    try:
        return CliRunner().invoke(app, ["db", *words], input=answer)
    finally:
        settings_module.load.cache_clear()


def test_an_upgrade_to_an_older_revision_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run(settings, monkeypatch, "upgrade", "--revision", "0001")
    assert refused.exit_code == 2
    assert f"schema is at {schema.NEWEST}, which is newer than 0001" in refused.stderr
    assert "argosy db downgrade --revision 0001" in refused.stderr
    assert run(settings, monkeypatch, "upgrade").stdout == f"schema argosy is at {schema.NEWEST}\n"


def test_a_downgrade_says_what_will_be_lost_and_asks(
    settings: Settings, client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.set_project(1, weight=2.0)
    with engine.begin() as connection:
        alive(connection, WORKER, schema.NEWEST)
    unasked = run(settings, monkeypatch, "downgrade", "--revision", "0014")
    assert unasked.exit_code == 2
    assert "--yes" in unasked.stderr
    lines = [line.split() for line in unasked.stdout.splitlines()]
    assert ["0016", "table", "process", "1"] in [line[:4] for line in lines]
    assert ["0015", "column", "launch.webhook", "0"] in [line[:4] for line in lines]
    refused = run(settings, monkeypatch, "downgrade", "--revision", "0014", "--yes")
    assert "stop them first: worker here/1" in refused.stderr
    with engine.begin() as connection:
        processes.end(connection, "worker/1")
    assert revision(engine) == schema.NEWEST
    assert run(settings, monkeypatch, "downgrade", "--revision", "0014", "--yes").exit_code == 0
    assert revision(engine) == "0014"
    assert run(settings, monkeypatch, "upgrade").exit_code == 0
    assert serves(engine) != ""


def test_a_downgrade_to_what_is_not_older_is_refused(settings: Settings) -> None:
    for wanted in (schema.NEWEST, "nowhere"):
        with pytest.raises(InvalidRequest):
            migrate.downgrade(settings, wanted)
