"""The rule for migrations, as a function of their SQL: worker/docs/migrations.md says it in words."""

import re
from collections.abc import Iterator

SMALL = {"installation", "cluster", "project", "algorithm", "alembic_version"}
"""Tables with so few rows that a statement over all of them takes no time."""

_TABLE = r'(?:ONLY )?argosy\."?(\w+)"?'
_REWRITES = re.compile(r"DEFAULT (?!now\(\))\w*\(|GENERATED|SERIAL", re.IGNORECASE)


def faults(sql: str) -> Iterator[str]:
    """What is wrong with a migration that runs while processes work.

    Args:
        sql: Its statements, with BEGIN and COMMIT.
    """
    made = set(re.findall(rf"CREATE TABLE {_TABLE}", sql))
    inside, steps, others = True, False, False
    for statement in _statements(sql):
        if statement in ("BEGIN", "COMMIT"):
            inside = statement == "BEGIN"
            continue
        if re.match(r"(UPDATE|INSERT INTO|DELETE FROM) argosy\.alembic_version", statement):
            continue
        table = _subject(statement)
        new = table in made
        steps |= not inside
        others |= inside
        if inside and not new:
            yield from _held(statement, table)
    if steps and others:
        yield "steps that commit by themselves stand beside statements that cannot be run again: make two migrations of it"


def _statements(sql: str) -> Iterator[str]:
    """Without comments, and without what stands in dollar quotes."""
    sql = re.sub(r"--[^\n]*", "", sql)
    sql = re.sub(r"(\$\w*\$).*?\1", "''", sql, flags=re.DOTALL)
    for statement in sql.split(";"):
        if words := " ".join(statement.split()):
            yield words


def _subject(statement: str) -> str:
    found = re.search(rf"(?:TABLE|INTO|UPDATE|FROM|ON|JOIN) {_TABLE}", statement)
    return found[1] if found else ""


def _held(statement: str, table: str) -> Iterator[str]:
    """What holds a lock on a table that is in use for longer than a moment."""
    if re.match(r"CREATE (UNIQUE )?INDEX", statement):
        yield f"an index on {table} is built while nobody may write: use steps.create_index"
    if statement.startswith("DROP INDEX"):
        yield "an index is dropped while nobody may read: use steps.drop_index"
    if "ADD COLUMN" in statement:
        if "NOT NULL" in statement and "DEFAULT" not in statement:
            yield f"a column of {table} has no value in the rows that are there, nor in those that older code writes: give it a default"
        if _REWRITES.search(statement):
            yield f"a column of {table} has a default that is another for each row: all rows are written anew"
    if "ADD CONSTRAINT" in statement and "NOT VALID" not in statement:
        yield f"all rows of {table} are checked while nobody may write: add it NOT VALID, and use steps.validate in the next migration"
    if re.search(r"ALTER COLUMN \w+ (TYPE|SET NOT NULL)", statement) or re.search(
        r"ALTER COLUMN \w+ SET DATA TYPE", statement
    ):
        yield f"all rows of {table} are read or written anew while nobody may read: add another column, or a CHECK that is NOT VALID"
    if re.match(r"(UPDATE|DELETE)\b", statement) and table not in SMALL:
        yield f"rows of {table} are written in one long transaction: use steps.in_batches"


def takes(sql: str) -> list[str]:
    """What of a migration takes away something that older code may use."""
    gone = r"DROP TABLE|DROP COLUMN|RENAME|DROP FUNCTION|DROP VIEW"
    return [statement for statement in _statements(sql) if re.search(gone, statement)]
