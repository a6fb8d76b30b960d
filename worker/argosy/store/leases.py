"""Leases: one holder at a time, by the database's clock.

The epoch grows whenever the holder changes. A holder's transactions begin with `fence`, which locks the lease row FOR KEY SHARE: no other
process can take the lease over while such a transaction is open, and every later transaction of the former holder finds another epoch and
changes nothing (P3). Taking and renewing a lease never waits. A renewal does not change the key, so it does not wait for the holder's own
fences. If a frozen process has locked the row, the lease is skipped and tried again in the next round, until
`idle_in_transaction_session_timeout` ends the session of that process: a tracker that waited would lose its other leases meanwhile.
"""

from sqlalchemy import Connection, text

from argosy.errors import Fenced
from argosy.metrics import TAKEOVERS
from argosy.store.clocks import LONGEST


def of_cluster(cluster_id: int) -> str:
    """The name of the lease to track a cluster."""
    return f"cluster/{cluster_id}"


# Waits until the holder has no transaction open.
_LOCK = text("SELECT 1 FROM argosy.lease WHERE name = :name FOR UPDATE")

# The fence refuses all later writes of its holder.
_REVOKE = text("UPDATE argosy.lease SET until = clock_timestamp(), holder = '', epoch = epoch + 1 WHERE name = :name")


def revoke(connection: Connection, name: str) -> None:
    """End a lease, no matter who holds it. Waits until the holder's open transactions have ended; its later ones raise `Fenced`."""
    connection.execute(_LOCK, {"name": name})
    connection.execute(_REVOKE, {"name": name})


# Renew, if we still hold it.
_RENEW = text(
    "UPDATE argosy.lease SET until = clock_timestamp() + make_interval(secs => :seconds) "
    "WHERE name = :name AND holder = :holder RETURNING epoch"
)

# The row must be there before it can be locked.
_MAKE = text(
    "INSERT INTO argosy.lease (name, holder, epoch, until) VALUES (:name, '', 0, clock_timestamp()) ON CONFLICT DO NOTHING"
)

# Free to take, and nobody else is taking it. One that ends later than any lease was written before the clock was set back.
_EXPIRED = text(
    "SELECT holder FROM argosy.lease WHERE name = :name "
    f"AND NOT until BETWEEN clock_timestamp() AND clock_timestamp() + make_interval(secs => {LONGEST}) FOR UPDATE SKIP LOCKED"
)

# A new holder is a new epoch.
_TAKE = text(
    "UPDATE argosy.lease SET holder = :holder, epoch = epoch + 1, "
    "until = clock_timestamp() + make_interval(secs => :seconds) WHERE name = :name RETURNING epoch"
)


def acquire(connection: Connection, name: str, holder: str, seconds: float) -> int | None:
    """Take a lease, or renew one's own.

    Args:
        connection: In a transaction that is committed at once.
        name: Name of the lease.
        holder: Name of the process.
        seconds: How long the lease lasts without renewal.

    Returns:
        The epoch; None if another process holds the lease.
    """
    parameters = {"name": name, "holder": holder, "seconds": seconds}
    renewed = connection.execute(_RENEW, parameters).scalar_one_or_none()
    if renewed is not None:
        return int(renewed)
    connection.execute(_MAKE, parameters)
    free = connection.execute(_EXPIRED, parameters).one_or_none()
    if free is None:
        return None
    epoch = connection.execute(_TAKE, parameters).scalar_one()
    if free.holder:  # it was not released: its holder died, or hangs
        TAKEOVERS.labels(name.partition("/")[0]).inc()
    return int(epoch)


# Another process can take it at once.
_RELEASE = text(
    "UPDATE argosy.lease SET until = clock_timestamp(), holder = '' WHERE name = :name AND holder = :holder"
)


def release(connection: Connection, name: str, holder: str) -> None:
    """Release a lease, so that another process does not have to wait until it runs out."""
    connection.execute(_RELEASE, {"name": name, "holder": holder})


# Members that are long gone, or were alive before the clock was set back.
_GONE = text(
    "DELETE FROM argosy.lease WHERE name LIKE :group "
    "AND NOT until BETWEEN clock_timestamp() - interval '1 hour' "
    f"AND clock_timestamp() + make_interval(secs => {LONGEST})"
)


def present(connection: Connection, group: str, holder: str, seconds: float, counted: bool = True) -> int:
    """Record that a process is alive, and count the processes of its kind.

    Args:
        connection: In a transaction that is committed at once.
        group: Its kind.
        holder: The process.
        seconds: How long it counts as alive without another call.
        counted: Whether the others are to count it.

    Returns:
        How many processes of its kind are alive, itself included.
    """
    if counted:
        acquire(connection, f"{group}/{holder}", holder, seconds)
    else:
        release(connection, f"{group}/{holder}", holder)
    values = {"group": f"{group}/%"}
    connection.execute(_GONE, values)
    query = "SELECT count(*) FROM argosy.lease WHERE name LIKE :group AND until > clock_timestamp()"
    return int(connection.execute(text(query), values).scalar_one()) + (not counted)


# The epoch cannot change before this transaction ends.
_FENCE = text("SELECT 1 FROM argosy.lease WHERE name = :name AND epoch = :epoch AND holder <> '' FOR KEY SHARE")


def fence(connection: Connection, name: str, epoch: int) -> None:
    """Begin a holder's transaction.

    Raises:
        Fenced: The lease has another holder by now.
    """
    held = connection.execute(_FENCE, {"name": name, "epoch": epoch}).one_or_none()
    if held is None:
        raise Fenced(f"the lease {name!r} of epoch {epoch} was taken over; this process stops working on it")
