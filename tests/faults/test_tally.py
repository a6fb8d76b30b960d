"""The count itself: what nobody could know is no fault, and everything else is."""

from datetime import UTC, datetime, timedelta
from typing import cast
from uuid import UUID, uuid4

import pytest

from argosy.client import Client
from argosy.errors import NotFound
from argosy.labels import workflow_name
from argosy.shapes.shown import JobShape
from tests.faults.tally import Allowances, tally
from tests.faults.witness import Sighting

LOSS = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return LOSS + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("bare", "gone", "known"),
    [
        (at(-200), at(-1), False),
        (at(-200), at(5), False),  # its time-to-live ended before anybody could list it
        (at(-200), at(120), True),
        (at(-200), None, True),
        (at(4), at(5), True),  # argosy itself let it go, so it knew
    ],
)
def test_a_workflow_that_was_free_to_go_and_went_before_argosy_could_look_is_not_known(
    bare: datetime, gone: datetime | None, known: bool
) -> None:
    uid = uuid4()
    found = [Sighting(f"job-{uid}-1", "second", "k1", at(-400), "", "", "Failed", gone, bare)]
    assert Allowances(unsure={uid}, losses=[LOSS]).relevant(uid, found) == (found if known else [])
    assert Allowances(losses=[LOSS]).relevant(uid, found) == found


def test_an_attempt_that_the_database_has_lost_while_a_later_one_was_found_ends_no_count() -> None:
    uid = uuid4()
    second = JobShape(
        uid=uid,
        gid=uuid4(),
        index=0,
        created_at=datetime.now(UTC),
        id=workflow_name(uid, 2),
        project=1,
        user=7,
        algorithm="a",
        status="Cancelled",
        message="",
        start_time=None,
        stop_time=None,
        media_ids=[1],
        attempt=2,
        cluster="here",
        as_of=LOSS,
        nodes=[],
    )

    class Restored:
        def get(self, _: UUID, attempt: int | None = None) -> JobShape:
            if attempt == 1:
                raise NotFound("attempt 1 does not exist")
            return second

    counts = tally(cast(Client, Restored()), {uid: {"Cancelled"}}, [], [], Allowances())
    assert counts.clean
    assert counts.statuses == {"Cancelled": 1}
