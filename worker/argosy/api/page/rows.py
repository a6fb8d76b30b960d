"""Rows of jobs: what each says besides its status."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from argosy.client import Client
from argosy.errors import NotFound
from argosy.shapes.history import ReasonShape
from argosy.shapes.shown import FoundJob

JOBS = 50
"""On one page."""

_EXPLAINED = 5
"""Waiting jobs of one page that are explained each by itself: each explanation asks the database five times."""

_WAITING = {"Queued", "Submitting", "Pending", "Cancelling"}


def explained(client: Client, jobs: Sequence[FoundJob]) -> Mapping[UUID, ReasonShape]:
    """Why the first waiting jobs wait, and what may be done about it: the reason that must end first."""
    found = {}
    for job in [each for each in jobs if each.status in _WAITING][:_EXPLAINED]:
        try:
            reasons = client.explain(job.uid, project=job.project).reasons
        except NotFound:
            continue  # forgotten since the list was read
        if reasons:
            found[job.uid] = reasons[0]
    return found
