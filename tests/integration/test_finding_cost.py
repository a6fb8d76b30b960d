"""What a page of jobs or launches costs follows from what it shows, whatever the filter: held by what PostgreSQL reads, not by a clock.

20,000 jobs, of which 1,000 of each status are counted: as 200,000 with the real bound. Without statistics, as a new database is, and with
them.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event, text

from argosy.shapes.filters import JobFilter
from argosy.store import database, finding
from argosy.store.summaries import ALIKE
from tests.support import databases

_LAUNCHES, _JOBS = 200, 100

# Launches a minute apart. Project 2 has every 50th, user 8 and the algorithm `rare` every tenth.
_FILL = """
WITH launch AS (
    INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, request_digest, state, algorithm_id, placement_id, jobs,
        expanded_jobs, expanded_at, media_ids, files_per_job, parameters, created_at)
    SELECT CAST(lpad(to_hex(t & 4294967295), 8, '0') || '-' || lpad(to_hex((t >> 32) & 65535), 4, '0') || '-1'
            || lpad(to_hex((t >> 48) & 4095), 3, '0') || '-b000-02fc00000001' AS uuid),
        CASE WHEN i % 50 = 0 THEN 2 ELSE 1 END, CASE WHEN i % 10 = 0 THEN 8 ELSE 7 END, CASE WHEN i % 10 = 1 THEN 'rare' ELSE 'hello' END,
        '', 'expanded', 1, 1, :jobs, :jobs, now(), ARRAY(SELECT generate_series(1, :jobs)), 1,
        jsonb_build_array(jsonb_build_array('mode', 'm' || i % 3), jsonb_build_array('seed', CAST(i AS text))), now()
    FROM generate_series(1, :launches) i, LATERAL (SELECT 139000000000000000 + CAST(i AS bigint) * 600000000) s (t)
    RETURNING gid, project, user_id
), job AS (
    INSERT INTO argosy.job (uid, gid, ordinal, project, user_id, media_ids)
    SELECT gen_random_uuid(), gid, o, project, user_id, ARRAY[o + 1] FROM launch, generate_series(0, :jobs - 1) o RETURNING *
)
INSERT INTO argosy.attempt (uid, number, gid, project, user_id, algorithm_id, placement_id, cluster_id, state, message, finished_at)
SELECT uid, 1, gid, project, user_id, 1, 1, CASE WHEN r < 10 THEN 2 ELSE 1 END, state,
    CASE WHEN r BETWEEN 6 AND 10 THEN CASE WHEN r < 10 THEN 'no such file' ELSE 'no memory' END ELSE '' END,
    CASE WHEN r >= 6 THEN now() END
FROM job, LATERAL (SELECT (ordinal + CAST(user_id AS int)) % 100) h (r), LATERAL (SELECT CASE WHEN r < 5 THEN 'queued' WHEN r < 6
    THEN 'running' WHEN r < 10 THEN 'failed' WHEN r < 11 THEN 'error' WHEN r < 12 THEN 'cancelled' ELSE 'succeeded' END) x (state)
"""

_VALUES: dict[str, list[Any]] = {
    "project": [(1,), (2,), (3,), (1, 2, 3)],
    "gid": ["oldest", UUID(int=1)],
    "index": [0, _JOBS - 1, _JOBS],
    "status": [("Queued",), ("Succeeded",), ("Lost",), ("Cancelling",), ("Failed", "Running")],
    "failed": [True],
    "error": ["some", "deadbeef"],
    "algorithm": ["hello", "rare", "nope"],
    "cluster": ["c", "d", "unused", "nope"],
    "user": [7, 8, 9],
    "media": [1, _JOBS, _JOBS + 1],
    "param": [("mode=m1",), ("seed=1",), ("mode=nope",), ("mode=m1", "seed=1")],
    "since": ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"],
    "until": ["2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"],
    "sort": ["oldest"],
}
"""Of each field what all have, what few have, and what none has."""


@pytest.fixture(scope="module")
def engine(postgres: str) -> Iterator[Engine]:
    with databases.fresh(postgres) as url:
        made = database.engine(databases.configured(url))
        with made.begin() as connection:
            for table in ("launch", "job", "attempt"):
                connection.execute(text(f"ALTER TABLE argosy.{table} SET (autovacuum_enabled = false)"))
            connection.execute(text("INSERT INTO argosy.cluster (name) SELECT unnest(ARRAY['c', 'd', 'unused'])"))
            connection.execute(text("INSERT INTO argosy.placement (cluster_ids, labels) VALUES ('{}', '{}')"))
            connection.execute(text(_FILL), {"launches": _LAUNCHES, "jobs": _JOBS})
        yield made
        made.dispose()


def test_each_field_of_a_filter_is_tried() -> None:
    assert _VALUES.keys() == JobFilter.model_fields.keys() - {"limit", "cursor"}


@pytest.mark.parametrize("statistics", [False, True], ids=["without", "with"])
def test_a_page_reads_what_it_shows_whatever_the_filter(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, statistics: bool
) -> None:
    monkeypatch.setattr(finding, "MOST", 1000)
    if statistics:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE argosy.launch, argosy.job, argosy.attempt"))
    with engine.connect() as connection:
        read = {
            (where.query(), name): _read(connection, name, where) for where in _filters(connection) for name in _PAGES
        }
    too_much = {what: found for what, found in read.items() if found > _BOUND}
    assert not too_much, sorted(too_much.items(), key=lambda each: -each[1])[:20]


_PAGES: dict[str, Any] = {
    "find": lambda connection, where: finding.find(connection, where.but(limit=50)),
    "count": finding.count,
    "launches": lambda connection, where: finding.launches(connection, where.but(limit=25)),
}

_BOUND = 20_000
"""Of blocks and rows that are looked at, together."""


def _filters(connection: Connection) -> Iterator[JobFilter]:
    """No field, each field with each of its values, and each two fields with the first value of the one and the last of the other."""
    known = {
        "oldest": connection.execute(
            text("SELECT gid FROM argosy.launch ORDER BY argosy.age(gid) DESC LIMIT 1")
        ).scalar(),
        "some": connection.execute(
            text(f"SELECT {ALIKE} FROM argosy.attempt a WHERE a.state = 'error' LIMIT 1")
        ).scalar(),
    }
    values = {
        name: [known.get(each, each) if isinstance(each, str) and name != "sort" else each for each in given]
        for name, given in _VALUES.items()
    }
    yield JobFilter()
    for name, given in values.items():
        yield from (JobFilter.model_validate({name: each}) for each in given)
    for (one, ones), (other, others) in combinations(values.items(), 2):
        yield JobFilter.model_validate({one: ones[0], other: others[-1]})


def _read(connection: Connection, name: str, where: JobFilter) -> int:
    """Blocks that PostgreSQL reads for a page, and rows that it looks at, in all its statements."""
    statements: list[tuple[str, Any]] = []

    def heard(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", heard)
    try:
        _PAGES[name](connection, where)
    finally:
        event.remove(connection, "before_cursor_execute", heard)
    total = 0
    for statement, parameters in statements:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}"
        (((plan,),),) = connection.exec_driver_sql(explain, parameters).all()
        top = plan["Plan"]
        total += top["Shared Hit Blocks"] + top["Shared Read Blocks"] + _rows(top)
    return total


def _rows(node: dict[str, Any]) -> int:
    """Rows of tables that a plan looked at, those that did not fit too."""
    removed = sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    own = (node["Actual Rows"] + removed) * node["Actual Loops"] if "Relation Name" in node else 0
    return round(own) + sum(_rows(each) for each in node.get("Plans", []))
