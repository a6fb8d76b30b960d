"""What an audit counts at its end, from the apiserver's own log, the objects on the cluster and the database."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson

from argosy.client import Client
from argosy.manifest import workflow_name
from argosy.shapes import JobShape
from tests.stack import FINAL

ARGOSY = "system:serviceaccount:argosy:argosy"
"""Who argosy is on the cluster; what others create there is not its doing."""

PHASES = {"Succeeded": {"Succeeded"}, "Failed": {"Failed", "Cancelled"}, "Error": {"Error", "Cancelled"}}
"""What a job may say of a workflow that ended in a phase."""

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


@dataclass
class Tally:
    """The counts; `untrue` and `doubled` name what is wrong, for whoever must find out why."""

    duplicates: int = 0
    lost: int = 0
    running_after_cancel: int = 0
    untrue: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)


def tally(
    client: Client, uids: list[UUID], expected: dict[UUID, set[str]], objects: list[dict[str, Any]], audit_log: Path
) -> Tally:
    """Count.

    Args:
        client: On the database.
        uids: Every job that was launched.
        expected: How each may truthfully have ended.
        objects: The workflows that are still on the cluster.
        audit_log: The apiserver's; older parts of it lie beside it.
    """
    counts = Tally()
    attempts = list(_attempts(client, uids))
    known = {attempt.name for attempt in attempts}
    creates = Counter(_created(audit_log, "workflows", ARGOSY))
    for name, number in creates.items():
        if number > 1 or name not in known:
            counts.duplicates += number - (name in known)
            counts.doubled.append(f"{name}: {number} creates" + ("" if name in known else ", no attempt"))
    phases = {item["metadata"]["name"]: item.get("status", {}).get("phase", "") for item in objects}
    for attempt in attempts:
        counts.statuses[attempt.job.status] += attempt.newest
        why = _untrue(attempt, expected[attempt.job.uid], phases.get(attempt.name))
        if why:
            counts.lost += 1
            counts.untrue.append(f"{attempt.name} {attempt.job.status}: {why}")
    found = {attempt.job.uid for attempt in attempts if attempt.newest}
    counts.lost += sum(uid not in found for uid in uids)
    counts.running_after_cancel = _running_after_cancel(attempts, phases, audit_log)
    return counts


def _attempts(client: Client, uids: list[UUID]) -> Iterator[Attempt]:
    for uid in uids:
        newest = client.get(uid)
        if newest.attempt == 0:
            continue  # its launch was never expanded
        yield Attempt(newest, True)
        for number in range(1, newest.attempt):
            yield Attempt(client.get(uid, attempt=number), False)


def _untrue(attempt: Attempt, expected: set[str], phase: str | None) -> str:
    """Why an attempt's final state is not the truth; empty where it is."""
    job = attempt.job
    if job.status not in FINAL:
        return "has not ended"
    if job.status not in expected:
        return f"not one of {sorted(expected)}: {job.message}"
    if job.status in {"Succeeded", "Failed"} and not job.nodes:
        return "without nodes"
    if phase is not None and job.status not in PHASES.get(phase, set()) | {"Deleted"}:
        return f"but its workflow is {phase or 'untouched'}"
    return ""


def _running_after_cancel(attempts: list[Attempt], phases: dict[str, str], audit_log: Path) -> int:
    """Cancelled attempts whose workflow has not ended, or that got a pod after they had."""
    ended = {a.name: a.job.stop_time for a in attempts if a.job.status == "Cancelled" and a.job.stop_time is not None}
    running = {name for name in ended if phases.get(name) not in (None, "Failed", "Error", "Succeeded")}
    for name, at in _created_at(audit_log, "pods"):
        owner = next(
            (known for known in (name, name.rpartition("-")[0], name.rsplit("-", 2)[0]) if known in ended), None
        )
        if owner is not None and at > ended[owner] + _RESOLUTION:
            running.add(owner)
    return len(running)


def _created(audit_log: Path, resource: str, user: str) -> Iterator[str]:
    return (
        record["objectRef"]["name"] for record in _records(audit_log, resource) if record["user"]["username"] == user
    )


def _created_at(audit_log: Path, resource: str) -> Iterator[tuple[str, datetime]]:
    for record in _records(audit_log, resource):
        yield record["objectRef"].get("name", ""), datetime.fromisoformat(record["requestReceivedTimestamp"])


def _records(audit_log: Path, resource: str) -> Iterator[dict[str, Any]]:
    """Creates that succeeded, the parts of the log that were rotated included."""
    for part in sorted(audit_log.parent.glob(f"{audit_log.stem}*{audit_log.suffix}")):
        with part.open("rb") as lines:
            for line in lines:
                if b'"verb":"create"' not in line:
                    continue
                record = orjson.loads(line)
                if record["objectRef"]["resource"] == resource and record["responseStatus"]["code"] == 201:
                    yield record
