"""Changes of the schema, forwards and back, while processes work on it.

Each migration has a transaction of its own, so that an upgrade that was interrupted goes on where it was. Its sessions have time-outs: if a
lock is not given at once, everybody would wait behind it, so the migration is taken back and tried again. It waits for less than the second
after which PostgreSQL looks for deadlocks: of a migration that changes two tables and a reader of both, the reader might be ended. A
statement that takes minutes while it holds its locks is a mistake. What takes longer has steps of its own (`migrations/steps.py`). One
upgrade goes at a time; the others wait without a transaction, because an index that is built beside writers waits for all that are open.

What code may run on which schema: `schema.py`. How migrations are written: worker/docs/migrations.md.
"""

import io
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from argosy.errors import Conflict, InvalidRequest, NotConfigured
from argosy.settings import Settings
from argosy.store import database, processes, roles, schema

LIMITS = {"lock_timeout": "500ms", "statement_timeout": "5min", "timezone": "UTC"}
"""Of a migration's session."""

_BUSY = ("40P01", "55P03")
"""A deadlock; a lock that was not given in time."""

_PATIENCE = 3600.0
"""Seconds for which an upgrade is tried while others use the tables."""

_AGAIN = 0.2
"""Seconds between two tries."""

_ALONE = text("SELECT pg_try_advisory_lock(hashtext('argosy migrations'))")


def upgrade(settings: Settings, revision: str = "head") -> str:
    """Bring the schema to a revision. Safe to run from several processes at once: they take turns.

    Args:
        settings: Where the database is.
        revision: Which; `head` is the newest that this code knows. A newer schema then stays as it is.

    Returns:
        The revision of the schema afterwards.

    Raises:
        NotConfigured: The database cannot be reached, or its tables are too busy.
        InvalidRequest: There is no such revision, or the schema is newer.
        Conflict: Processes are alive that would not work afterwards.
    """
    wanted = _known(revision)
    with _alone(settings) as engine:
        with engine.connect() as connection:
            found = schema.revision(connection)
        if found > wanted and revision != "head":
            raise InvalidRequest(
                f"schema is at {found}, which is newer than {wanted}; to take changes back: argosy db downgrade --revision {wanted}"
            )
        if found < wanted:
            _refuse(engine, wanted, lambda process: process.revision < _serves(wanted))
            _migrate(engine, lambda config: command.upgrade(config, wanted))
            found = wanted
        if found == schema.NEWEST:
            _patiently(engine, _give_again)
    return found


def grant(settings: Settings) -> None:
    """Make the roles, and give them their rights (store/roles.py). Repeated, it changes nothing.

    Raises:
        NotConfigured: The database cannot be reached, its tables are too busy, or its schema is not the one that this code knows.
        NotAllowed: The user may not make roles, or does not own the schema.
    """
    with _alone(settings) as engine:
        with engine.connect() as connection:
            found = schema.revision(connection)
        if found != schema.NEWEST:
            raise NotConfigured(
                f"schema is at {found or 'nothing'}, and the rights that this argosy knows are those of {schema.NEWEST}: run argosy db "
                "upgrade first, or use the argosy that has upgraded it"
            )
        _patiently(engine, lambda connection: roles.give(connection, make=True))


@dataclass(frozen=True)
class Loss:
    """What taking a migration back deletes: a table, or a column of one, with how many rows have something there."""

    revision: str
    about: str
    what: str
    rows: int


def losses(settings: Settings, revision: str) -> Sequence[Loss]:
    """What a downgrade to a revision would delete. Raises as `downgrade`; changes nothing."""
    wanted = _known(revision)
    with _alone(settings) as engine, engine.connect() as connection:
        found = _older(connection, wanted)
        return [loss for script in _between(wanted, found) for loss in _lost(connection, script.revision)]


def downgrade(settings: Settings, revision: str) -> str:
    """Take the schema back to an older revision. Returns as `upgrade`.

    Raises:
        NotConfigured: The database cannot be reached, or its tables are too busy.
        InvalidRequest: There is no such revision, or the schema is not newer, or newer than this code knows.
        Conflict: Processes are alive that need what would be gone.
    """
    wanted = _known(revision)
    with _alone(settings) as engine:
        with engine.connect() as connection:
            _older(connection, wanted)
        _refuse(engine, wanted, lambda process: process.revision > wanted)
        _migrate(engine, lambda config: command.downgrade(config, wanted))
    return wanted


def statements(revision: str, *, back: bool = False) -> str:
    """The SQL of one migration, or of taking it back, without running it."""
    out = io.StringIO()
    config = _config()
    config.output_buffer = out
    script = _scripts().get_revision(revision)
    before = script.down_revision or "base"
    (command.downgrade if back else command.upgrade)(
        config, f"{revision}:{before}" if back else f"{before}:{revision}", sql=True
    )
    return out.getvalue()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _known(revision: str) -> str:
    known = {script.revision for script in _scripts().walk_revisions()}
    wanted = schema.NEWEST if revision == "head" else revision
    if wanted not in known:
        raise InvalidRequest(f"--revision {revision}: there is no such migration; the newest is {schema.NEWEST}")
    return wanted


def _serves(revision: str) -> str:
    """The newest migration that code must know to run on the schema of this revision."""
    return str(getattr(_scripts().get_revision(revision).module, "serves", ""))


def _between(older: str, newer: str) -> list[Any]:
    """The migrations after one, up to another, the newest first."""
    return [*_scripts().iterate_revisions(newer, older)]


def _older(connection: Connection, wanted: str) -> str:
    found = schema.revision(connection)
    if found > schema.NEWEST:
        raise InvalidRequest(
            f"schema is at {found}, which this argosy does not know; take it back with the argosy that made it"
        )
    if found <= wanted:
        raise InvalidRequest(
            f"schema is at {found or 'nothing'}, which is not newer than {wanted}; nothing is to be taken back"
        )
    return found


def _refuse(engine: Engine, wanted: str, breaks: Callable[[processes.Process], bool]) -> None:
    """Refuse to take from processes what they use."""
    with engine.connect() as connection:
        if schema.revision(connection) < _SINCE:
            return
        alive = [
            f"{each.kind} {each.host}/{each.pid} ({each.version})"
            for each in processes.alive(connection)
            if breaks(each)
        ]
    if alive:
        raise Conflict(f"with the schema at {wanted} these would no longer work, stop them first: {', '.join(alive)}")


_SINCE = "0016"
"""The migration since which processes have rows."""


@contextmanager
def _alone(settings: Settings) -> Iterator[Engine]:
    """An engine, while no other process migrates."""
    engine = database.migrator(settings, LIMITS)
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as guard:
            until = time.monotonic() + _PATIENCE
            while not guard.execute(_ALONE).scalar_one():
                _wait(until, "another upgrade is under way")
            yield engine
    except OperationalError as error:
        raise database.away(error) from error
    finally:
        engine.dispose()


def _give_again(connection: Connection) -> None:
    """Give the rights to what migrations have made, where rights are given by role."""
    if roles.given(connection):
        roles.give(connection)


def _migrate(engine: Engine, work: Callable[[Config], None]) -> None:
    """Run migrations, those that are not done yet again where the tables were busy."""

    def run(connection: Connection) -> None:
        config = _config()
        config.attributes["connection"] = connection
        work(config)

    _patiently(engine, run)


def _patiently(engine: Engine, work: Callable[[Connection], None]) -> None:
    """Run something, again where the tables were busy."""
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with engine.connect() as connection:
                work(connection)
                connection.commit()
                return
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) not in _BUSY:
                raise
            _wait(until, "its tables are too busy to be changed; stop what writes long transactions")


def _wait(until: float, why: str) -> None:
    if time.monotonic() > until:
        raise NotConfigured(f"database: {why}, and try again")
    time.sleep(_AGAIN)


_DROPPED = re.compile(r"DROP TABLE argosy\.(\w+)|ALTER TABLE argosy\.(\w+) DROP COLUMN (\w+)")


def _lost(connection: Connection, revision: str) -> Iterator[Loss]:
    about = str(_scripts().get_revision(revision).doc)
    for table, of, column in _DROPPED.findall(statements(revision, back=True)):
        if table:
            query, what = f'SELECT count(*) FROM argosy."{table}"', f"table {table}"
        else:
            default = connection.execute(_DEFAULT, {"table": f"argosy.{of}", "column": column}).scalar_one_or_none()
            query = f'SELECT count(*) FROM argosy."{of}" WHERE "{column}" IS DISTINCT FROM ({default or "NULL"})'
            what = f"column {of}.{column}"
        yield Loss(revision, about, what, int(connection.execute(text(query)).scalar_one()))


# The default of a column, as an expression.
_DEFAULT = text(
    "SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum "
    "WHERE d.adrelid = CAST(:table AS regclass) AND a.attname = :column"
)
