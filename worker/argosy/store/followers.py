"""Launches that wait for the end of another one, their predecessor (P13).

A waiting launch is `accepted` and `waiting`. Nobody claims it, and nobody asks for it again and again: the transaction that ends the last
job of the predecessor notifies of it (`notices`). Housekeeping finds what was missed together with other lost wake-ups (`launches.due`),
for example when two transactions end the last two jobs at the same time and neither sees the other. The worker that claims it decides here,
under a lock on the predecessor: if a retry came first, it waits on.

There are no circles: the predecessor must be there, committed or in the same transaction, when the launch is written, and a launch that is
there never gets another predecessor.
"""

from collections import Counter
from uuid import UUID

from sqlalchemy import Connection, text

from argosy.errors import InvalidRequest
from argosy.states import ENDED_EARLY
from argosy.store.conditions import ended
from argosy.store.launches import MINE, Claim

# The predecessor is not retried, cancelled or cut meanwhile.
_LOCK = text("SELECT FROM argosy.launch WHERE gid = :after FOR SHARE")

# How the predecessor stands, asked when it is locked.
_HOW = text(f"SELECT state, {ended('p')} AS ended FROM argosy.launch p WHERE gid = :after")

# Its jobs that did not succeed.
_UNSUCCESSFUL = text(
    "SELECT a.state, count(*) AS jobs FROM argosy.job j JOIN argosy.attempt a ON a.gid = :after AND a.uid = j.uid AND a.number = j.attempt "
    "WHERE j.gid = :after AND a.state <> 'succeeded' GROUP BY a.state ORDER BY a.state"
)

# It waits no more, and the claim goes on.
_BEGIN = text(f"UPDATE argosy.launch SET waiting = false, reason = '' WHERE {MINE} AND waiting")

# It waits on, and the claim was no try.
_WAIT_ON = text(
    f"UPDATE argosy.launch SET claim_worker = NULL, tries = 0, next_try_at = clock_timestamp() WHERE {MINE} AND waiting"
)


def begin(connection: Connection, claim: Claim, after: UUID, after_if: str) -> bool:
    """Let a claimed launch begin if its predecessor has ended as it must.

    Args:
        connection: In a transaction.
        claim: The waiting launch.
        after: Its predecessor.
        after_if: `ok` if all jobs of the predecessor must have Succeeded, `any` if it is enough that they have ended.

    Returns:
        False if it waits on, or another worker has claimed it, or it was cancelled.

    Raises:
        InvalidRequest: It can never begin.
    """
    connection.execute(_LOCK, {"after": after})
    found = connection.execute(_HOW, {"after": after}).one_or_none()
    mine = {"gid": claim.gid, "epoch": claim.epoch}
    if found is None:
        raise InvalidRequest(
            f"launch {after}, after which it was to run, is not there any more; launch it without after"
        )
    if not found.ended:
        connection.execute(_WAIT_ON, mine)
        return False
    if after_if == "ok":
        _check_success(connection, after, found.state)
    return bool(connection.execute(_BEGIN, mine).rowcount)


def _check_success(connection: Connection, after: UUID, state: str) -> None:
    """Raises InvalidRequest if a launch that has ended did not succeed as a whole."""
    if state in ENDED_EARLY:
        # Without its reason, or reasons would grow along a chain.
        raise InvalidRequest(f"launch {after}, after which it was to run, was {state}; why: argosy get {after}")
    bad = Counter({row.state.capitalize(): row.jobs for row in connection.execute(_UNSUCCESSFUL, {"after": after})})
    if bad:
        counts = ", ".join(f"{jobs} {status}" for status, jobs in bad.items())
        raise InvalidRequest(
            f"launch {after}, after which it was to run, has {bad.total()} jobs that did not succeed ({counts}); retry these and launch it "
            "again, or launch it to run after that one however it ends"
        )
