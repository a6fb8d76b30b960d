"""What tests do to launches besides waiting for a worker."""

from uuid import UUID

from sqlalchemy import Connection, Engine, text

from argosy.store import cutting, launches


def cut(connection: Connection, gid: UUID, most: int = 10_000) -> cutting.Cut | None:
    """Make a resolved launch's next jobs, whoever has claimed it."""
    connection.execute(text("UPDATE argosy.launch SET next_try_at = clock_timestamp() WHERE gid = :gid"), {"gid": gid})
    claimed = launches.claim(connection, gid, "w", 20.0)
    return None if claimed is None else cutting.cut(connection, claimed, most, 20.0)


def its_time_has_come(engine: Engine) -> None:
    """Whatever waits to be tried again, or is claimed, may be taken now."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE argosy.launch SET next_try_at = clock_timestamp()"))
