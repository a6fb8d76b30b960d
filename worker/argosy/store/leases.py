"""Leases: one holder at a time, by the database's clock.

The epoch grows whenever the holder changes. A holder's transactions begin with `fence`, which locks the lease row for sharing: a
take-over waits for a running transaction of the former holder, and every later one of it finds another epoch and changes nothing
(design §5.3).
"""

from sqlalchemy import Connection, text

from argosy.errors import Fenced


def acquire(connection: Connection, name: str, holder: str, seconds: float) -> int | None:
    """Take a lease, or renew one's own.

    Args:
        connection: In a transaction that is committed at once.
        name: Of what.
        holder: Who.
        seconds: How long it is held without renewal.

    Returns:
        The epoch, or None while another holds it.
    """
    return connection.execute(
        text(
            "INSERT INTO argosy.lease AS l (name, holder, epoch, until) "
            "VALUES (:name, :holder, 1, clock_timestamp() + make_interval(secs => :seconds)) "
            "ON CONFLICT (name) DO UPDATE SET until = excluded.until, holder = excluded.holder, "
            "epoch = l.epoch + CASE WHEN l.holder = excluded.holder THEN 0 ELSE 1 END "
            "WHERE l.holder = excluded.holder OR l.until < clock_timestamp() RETURNING epoch"
        ),
        {"name": name, "holder": holder, "seconds": seconds},
    ).scalar_one_or_none()


def release(connection: Connection, name: str, holder: str) -> None:
    """Give a lease back, so that another need not wait for its end."""
    connection.execute(
        text("UPDATE argosy.lease SET until = clock_timestamp() - interval '1s', holder = '' WHERE name = :name AND holder = :holder"),
        {"name": name, "holder": holder},
    )  # fmt: skip


def fence(connection: Connection, name: str, epoch: int) -> None:
    """Begin a holder's transaction.

    Raises:
        Fenced: The lease has another holder by now.
    """
    held = connection.execute(
        text("SELECT 1 FROM argosy.lease WHERE name = :name AND epoch = :epoch AND holder <> '' FOR SHARE"),
        {"name": name, "epoch": epoch},
    ).one_or_none()
    if held is None:
        raise Fenced(f"the lease {name!r} of epoch {epoch} was taken over; this process stops working on it")
