"""What an audit counts at its end, from what came to be on the cluster and what the database says.

The last phase of a workflow is known even where it is gone: Argo writes it on a label, and the witness keeps it.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from argosy.client import Client
from argosy.errors import NotFound
from argosy.labels import workflow_name
from argosy.shapes.shown import JobShape
from tests.faults.witness import Sighting
from tests.support.stack import FINAL

PHASES = {"Succeeded": {"Succeeded"}, "Failed": {"Failed", "Cancelled"}, "Error": {"Error", "Cancelled"}}
"""What a job may say of a workflow that ended in a phase; `Deleted` too, of each."""

RAN = {"Succeeded", "Failed", "Error"}
"""What only a workflow that ran to its end can make of a job."""

_LOOK = timedelta(seconds=60)
"""Within which processes that have just started, some of them killed at once, have listed a cluster."""

_RESOLUTION = timedelta(seconds=2)
"""Kubernetes writes whole seconds."""


@dataclass(frozen=True)
class Attempt:
    """One attempt as the database has it at the end."""

    job: JobShape
    newest: bool

    @property
    def name(self) -> str:
        return workflow_name(self.job.uid, self.job.attempt)


@dataclass(frozen=True)
class Allowances:
    """What is no fault of argosy's.

    Args:
        asked: The newest attempt that somebody asked for, of jobs that were tried again; the database may have lost that.
        aged: Jobs that may have been forgotten.
        unsure: Jobs whose commits may have been lost.
        losses: When the database became an older one: of what had gone from the cluster by then, nobody knows; nor of what was free to go
            (by its time-to-live) and went before argosy could look.
        abandoned: A namespace that is gone for good: how its workflows ended, nobody could ask.
    """

    asked: Mapping[UUID, int] = field(default_factory=dict)
    aged: Set[UUID] = frozenset()
    unsure: Set[UUID] = frozenset()
    losses: Sequence[datetime] = ()
    abandoned: str = ""

    def relevant(self, uid: UUID, found: list[Sighting]) -> list[Sighting]:
        """Those of a job's workflows that could still be known."""
        if uid not in self.unsure:
            return found
        return [each for each in found if all(_knowable(each, loss) for loss in self.losses)]


def _knowable(each: Sighting, loss: datetime) -> bool:
    """Whether a workflow stayed until argosy could have seen it after a loss: it was held then, or not removed for a while."""
    return each.gone is None or (each.bare or each.gone) > loss or each.gone > loss + _LOOK


@dataclass
class Tally:
    """The counts; `wrong` says what is, for whoever must find out why.

    Args:
        duplicates: Workflows beyond one for each attempt, those of no attempt included.
        lost: Jobs that are not there or have not ended.
        untrue: Attempts whose end is not that of their workflow, or cannot have come from what was done to their job.
        running_after_cancel: Cancelled attempts whose workflow has not ended, or that got a pod afterwards.
        repeated: Workflows that were made again because the first had gone before the database became an older one.
        forgotten: Jobs that retention removed.
        statuses: Jobs by how they ended.
    """

    duplicates: int = 0
    lost: int = 0
    untrue: int = 0
    running_after_cancel: int = 0
    repeated: int = 0
    forgotten: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.duplicates or self.lost or self.untrue or self.running_after_cancel)


def tally(
    client: Client,
    expected: dict[UUID, set[str]],
    workflows: list[Sighting],
    pods: list[Sighting],
    allowances: Allowances,
) -> Tally:
    """Count.

    Args:
        client: On the database.
        expected: Every job that was launched, and how it may truthfully have ended.
        workflows: All that ever came to be, on whichever cluster.
        pods: The same.
        allowances: What is no fault.
    """
    counts = Tally()
    by_name: dict[str, list[Sighting]] = defaultdict(list)
    for each in workflows:
        by_name[each.name].append(each)
    last_pod = {pod.owner: pod for pod in sorted(pods, key=lambda pod: pod.created)}
    for uid, ends in expected.items():
        attempts = list(_attempts(client, uid))
        if not attempts and uid in allowances.aged:
            counts.forgotten += 1
        elif not attempts:
            counts.lost += 1
            counts.wrong.append(f"{uid}: is not in the database")
        allowed = ends | ({"Lost"} if uid in allowances.unsure else set())
        for attempt in attempts:
            if attempt.job.status in RAN and not by_name[attempt.name]:
                counts.untrue += 1
                counts.wrong.append(f"{attempt.name} {attempt.job.status}: but it never had a workflow")
            found = [each for each in by_name[attempt.name] if each.namespace != allowances.abandoned]
            _judge(counts, attempt, allowed, allowances.relevant(uid, found), last_pod)
        newest = max([allowances.asked.get(uid, 1), *(attempt.job.attempt for attempt in attempts)])
        for number in range(1, newest + 1):
            _count(counts, allowances, uid, by_name.pop(workflow_name(uid, number), []))
    for name, found in by_name.items():
        counts.duplicates += len(found)
        counts.wrong += [f"{name}: nobody asked for it; {_described(found)}"] if found else []
    return counts


def _count(counts: Tally, allowances: Allowances, uid: UUID, found: list[Sighting]) -> None:
    """One attempt's workflows."""
    repeated = len(found) - max(1, len(allowances.relevant(uid, found)))
    more = len(found) - 1 - max(0, repeated)
    if more > 0:
        counts.duplicates += more
        counts.wrong.append(f"{found[0].name}: {_described(found)}")
    counts.repeated += max(0, repeated)


def _described(found: list[Sighting]) -> str:
    return ", ".join(
        f"{each.namespace}/{each.uid} {each.phase or 'untouched'}"
        f"{f', gone {each.gone:%H:%M:%S}' if each.gone else ''} (made {each.created:%H:%M:%S})"
        for each in sorted(found, key=lambda each: each.created)
    )


def _attempts(client: Client, uid: UUID) -> Iterator[Attempt]:
    try:
        newest = client.get(uid)
    except NotFound:
        return
    yield Attempt(newest, True)
    for number in range(1, newest.attempt):
        with suppress(NotFound):  # of an attempt that the database has lost, and a later one was found of
            yield Attempt(client.get(uid, attempt=number), False)


def _judge(
    counts: Tally, attempt: Attempt, allowed: set[str], found: list[Sighting], last_pod: dict[str, Sighting]
) -> None:
    job = attempt.job
    counts.statuses[job.status] += attempt.newest
    if job.status not in FINAL:
        counts.lost += 1
        counts.wrong.append(f"{attempt.name} {job.status}: has not ended; {_described(found) or 'no workflow'}")
        return
    why = _untrue(job, allowed, found)
    if why:
        counts.untrue += 1
        counts.wrong.append(f"{attempt.name} {job.status}: {why}")
    if job.status == "Cancelled" and any(_runs_on(job, each, last_pod.get(each.uid)) for each in found):
        counts.running_after_cancel += 1
        counts.wrong.append(f"{attempt.name} {job.status}: runs on; {_described(found)}")


def _untrue(job: JobShape, allowed: set[str], found: list[Sighting]) -> str:
    """Why an attempt's final state is not the truth; empty where it is."""
    if job.status not in allowed:
        return f"not one of {sorted(allowed)}: {job.message}"
    if job.status in {"Succeeded", "Failed"} and not job.nodes:
        return "without nodes"
    for each in found:
        over = each.gone is not None and each.phase not in PHASES  # somebody deleted it while it ran
        if job.status in RAN if over else job.status not in PHASES.get(each.phase, set()) | {"Deleted"}:
            return f"({job.message}) but its workflow is {_described([each])}{', deleted while it ran' if over else ''}"
    return ""


def _runs_on(job: JobShape, workflow: Sighting, last_pod: Sighting | None) -> bool:
    if workflow.gone is None and workflow.phase not in PHASES:
        return True
    return last_pod is not None and job.stop_time is not None and last_pod.created > job.stop_time + _RESOLUTION
