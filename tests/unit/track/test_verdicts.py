"""What a sighting means, case by case: the pure half of the tracker."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.kube.nodes import NodeStatus
from argosy.kube.status import Sighting, gone
from argosy.labels import FINALIZER, workflow_name
from argosy.states import FINAL, TRANSITIONS, State
from argosy.store.tracking import Known
from argosy.track.verdicts import decide

UID = UUID("7233a659-e7c1-11f1-8ce4-addc122c18c0")
CLUSTER = 1

NAME = workflow_name(UID, 1)

RUNNING = Known(UID, 1, CLUSTER, State.RUNNING, "k1", "", "", False, True)
SUBMITTING = replace(RUNNING, state=State.SUBMITTING, k8s_uid=None)
SEEN = Sighting(NAME, "k1", UID, 1, "Running", "", "", None, None, False, False, (FINALIZER,))
DONE = replace(SEEN, phase="Succeeded")
ENDED = replace(SEEN, phase="Failed", shutdown=True)

knowns = st.builds(
    Known,
    st.just(UID),
    st.just(1),
    st.sampled_from([CLUSTER, 2, None]),
    st.sampled_from(State),
    st.sampled_from(["k1", "k2", None]),
    st.just(""),
    st.just(""),
    st.booleans(),
    st.booleans(),
)
sightings = st.builds(
    Sighting,
    st.sampled_from([NAME, "copy"]),
    st.sampled_from(["k1", "k2"]),
    st.just(UID),
    st.just(1),
    st.sampled_from(["", "Pending", "Running", "Succeeded", "Failed", "Error", "Strange"]),
    st.just(""),
    st.just(""),
    st.none(),
    st.none(),
    st.booleans(),
    st.booleans(),
    st.sampled_from([(), (FINALIZER,)]),
    st.booleans(),
    ended=st.sampled_from([None, *sorted(FINAL - {State.REJECTED})]),
)


@given(knowns, sightings)
def test_no_sighting_makes_a_transition_that_the_table_does_not_have(known: Known, seen: Sighting) -> None:
    verdict = decide(known, seen, CLUSTER)
    if verdict.change is not None and verdict.change.state != known.state:
        assert verdict.change.state in TRANSITIONS[known.state]


@given(knowns, sightings)
def test_logs_are_kept_of_a_jobs_own_workflow_while_it_is_held_and_of_no_cancelled_one(
    known: Known, seen: Sighting
) -> None:
    verdict = decide(known, seen, CLUSTER)
    if verdict.logs:
        assert known.k8s_uid in (None, seen.k8s_uid)
        assert not known.cancel_requested
        assert seen.held or known.state not in FINAL or (verdict.change is not None)


def test_a_new_tracker_looks_for_logs_of_what_has_ended_until_it_is_released() -> None:
    ended = replace(RUNNING, state=State.FAILED)
    seen = replace(SEEN, phase="Failed")
    assert decide(ended, seen, CLUSTER).logs
    assert not decide(ended, replace(seen, finalizers=()), CLUSTER).logs
    assert decide(RUNNING, replace(seen, finalizers=()), CLUSTER).logs
    assert not decide(replace(ended, cancel_requested=True), seen, CLUSTER).logs


@given(knowns, sightings)
def test_another_objects_sighting_changes_no_attempt(known: Known, seen: Sighting) -> None:
    if known.k8s_uid is not None and known.k8s_uid != seen.k8s_uid:
        verdict = decide(known, seen, CLUSTER)
        assert verdict.change is None
        assert not verdict.nodes


@given(knowns, sightings)
def test_the_finalizer_stays_until_the_end_is_recorded(known: Known, seen: Sighting) -> None:
    verdict = decide(known, seen, CLUSTER)
    if verdict.release and known.k8s_uid == seen.k8s_uid and known.cluster_id == CLUSTER:
        assert (verdict.change.state if verdict.change else known.state) in FINAL


@given(knowns, sightings)
def test_nothing_is_asked_of_an_object_that_is_gone(known: Known, seen: Sighting) -> None:
    if seen.gone:
        verdict = decide(known, seen, CLUSTER)
        assert not verdict.terminate
        assert not verdict.release


def test_the_first_sighting_of_a_submitting_attempt_records_its_uid() -> None:
    change = decide(SUBMITTING, SEEN, CLUSTER).change
    assert change is not None
    assert (change.state, change.k8s_uid) == (State.RUNNING, "k1")


def test_a_finished_workflow_is_recorded_and_released() -> None:
    verdict = decide(RUNNING, DONE, CLUSTER)
    assert verdict.change is not None
    assert verdict.change.state is State.SUCCEEDED
    assert verdict.nodes
    assert verdict.release
    assert not verdict.terminate


def test_a_deleted_event_with_last_phase_running_is_deleted() -> None:
    change = decide(RUNNING, replace(SEEN, gone=True), CLUSTER).change
    assert change is not None
    assert change.state is State.DELETED


def test_a_deleted_event_of_a_finished_workflow_keeps_how_it_ended() -> None:
    change = decide(RUNNING, replace(DONE, gone=True), CLUSTER).change
    assert change is not None
    assert change.state is State.SUCCEEDED


def test_a_running_workflow_with_a_deletion_timestamp_is_deleted_terminated_and_released() -> None:
    verdict = decide(RUNNING, replace(SEEN, deleting=True), CLUSTER)
    assert verdict.change is not None
    assert verdict.change.state is State.DELETED
    assert verdict.terminate
    assert verdict.release
    assert not verdict.stranger


def test_a_deleted_workflow_that_ends_by_our_terminate_stays_deleted() -> None:
    verdict = decide(replace(RUNNING, state=State.DELETED), replace(SEEN, phase="Failed", deleting=True), CLUSTER)
    assert verdict.change is None
    assert verdict.release


def test_a_deleted_workflow_that_is_back_without_its_deletion_reopens() -> None:
    change = decide(replace(RUNNING, state=State.DELETED), SEEN, CLUSTER).change
    assert change is not None
    assert change.state is State.RUNNING


def test_a_living_stranger_is_terminated_with_an_alarm_and_the_attempt_is_left_alone() -> None:
    verdict = decide(RUNNING, replace(SEEN, k8s_uid="other"), CLUSTER)
    assert verdict.change is None
    assert verdict.terminate
    assert verdict.stranger


def test_a_workflow_whose_row_the_database_has_lost_is_left_alone_with_an_alarm() -> None:
    for seen in (SEEN, DONE, replace(SEEN, shutdown=True)):
        verdict = decide(None, seen, CLUSTER)
        assert verdict.unknown
        assert (verdict.terminate, verdict.release) == (False, False)
    assert decide(None, SEEN, CLUSTER).stranger


def test_a_workflow_without_a_row_that_nobody_wants_is_ended_and_then_let_go() -> None:
    verdict = decide(None, SEEN, CLUSTER, unwanted=True)
    assert (verdict.terminate, verdict.ended, verdict.release, verdict.unknown) == (True, State.CANCELLED, False, False)
    for seen in (DONE, replace(SEEN, deleting=True, shutdown=True)):
        verdict = decide(None, seen, CLUSTER, unwanted=True)
        assert (verdict.terminate, verdict.release, verdict.unknown) == (False, True, False)


def test_a_workflow_without_a_row_that_somebody_deletes_can_go() -> None:
    assert decide(None, replace(SEEN, deleting=True), CLUSTER).release


def test_a_second_workflow_of_an_attempt_on_another_cluster_is_terminated_with_an_alarm() -> None:
    verdict = decide(replace(RUNNING, cluster_id=2, k8s_uid="k2"), SEEN, CLUSTER)
    assert (verdict.change, verdict.terminate, verdict.stranger) == (None, True, True)


def test_the_same_cluster_registered_twice_ends_nothing_of_the_other_registration() -> None:
    verdict = decide(replace(RUNNING, cluster_id=2), SEEN, CLUSTER)
    assert (verdict.change, verdict.terminate, verdict.release, verdict.stranger) == (None, False, False, True)
    assert not decide(replace(RUNNING, cluster_id=2), DONE, CLUSTER).release


def test_what_another_cluster_may_be_creating_is_judged_when_its_row_tells() -> None:
    verdict = decide(replace(SUBMITTING, cluster_id=2), SEEN, CLUSTER)
    assert (verdict.terminate, verdict.stranger, verdict.again) == (False, True, True)


def test_the_nodes_of_a_recorded_end_are_not_overwritten_by_a_second_life() -> None:
    known = replace(RUNNING, state=State.FAILED)
    for phase in ("Running", "Failed", "Succeeded"):
        assert not decide(known, replace(SEEN, phase=phase), CLUSTER).nodes


def test_the_finalizer_stays_while_a_create_may_still_arrive() -> None:
    verdict = decide(replace(RUNNING, quiet=False), DONE, CLUSTER)
    assert verdict.release
    assert verdict.later


def test_a_final_job_that_is_seen_running_is_terminated_with_an_alarm() -> None:
    verdict = decide(replace(RUNNING, state=State.SUCCEEDED), SEEN, CLUSTER)
    assert verdict.change is None
    assert verdict.terminate
    assert verdict.stranger


def test_a_lost_job_reopens_when_its_uid_is_seen_again() -> None:
    verdict = decide(replace(RUNNING, state=State.LOST), SEEN, CLUSTER)
    assert verdict.change is not None
    assert verdict.change.state is State.RUNNING
    assert not verdict.terminate


def test_an_older_attempt_never_reopens_and_is_terminated_when_alive() -> None:
    verdict = decide(replace(RUNNING, state=State.LOST, newest=False), SEEN, CLUSTER)
    assert verdict.change is None
    assert verdict.terminate


def test_a_job_to_be_cancelled_is_terminated_until_it_is_shut_down() -> None:
    known = replace(RUNNING, cancel_requested=True)
    assert decide(known, SEEN, CLUSTER).terminate
    assert not decide(known, replace(SEEN, shutdown=True), CLUSTER).terminate


def test_a_sighting_that_says_nothing_new_is_not_written() -> None:
    assert decide(RUNNING, SEEN, CLUSTER).change is None


def test_a_queued_attempt_whose_workflow_is_seen_is_that_workflow_wherever_it_is() -> None:
    for cluster in (None, CLUSTER, 2):
        verdict = decide(replace(SUBMITTING, state=State.QUEUED, cluster_id=cluster), SEEN, CLUSTER)
        assert verdict.change is not None
        assert (verdict.change.state, verdict.change.cluster_id, verdict.change.name) == (State.RUNNING, CLUSTER, NAME)
        assert (verdict.terminate, verdict.stranger) == (False, False)


def test_a_queued_attempt_whose_workflow_has_ended_has_ended() -> None:
    verdict = decide(replace(SUBMITTING, state=State.QUEUED), DONE, CLUSTER)
    assert verdict.change is not None
    assert verdict.change.state is State.SUCCEEDED
    assert verdict.release


def test_a_copy_under_another_name_is_not_the_attempts_workflow() -> None:
    verdict = decide(SUBMITTING, replace(SEEN, name="copy"), CLUSTER)
    assert (verdict.change, verdict.terminate, verdict.stranger) == (None, True, True)


def test_a_rejected_attempt_whose_create_arrived_after_all_is_that_workflow() -> None:
    change = decide(replace(SUBMITTING, state=State.REJECTED), SEEN, CLUSTER).change
    assert change is not None
    assert change.state is State.RUNNING


def test_a_job_that_was_cancelled_before_its_create_was_seen_ends_without_an_alarm() -> None:
    verdict = decide(replace(SUBMITTING, state=State.CANCELLED), SEEN, CLUSTER)
    assert (verdict.change, verdict.terminate, verdict.stranger) == (None, True, False)


def test_a_job_that_succeeded_before_it_could_be_ended_does_not_say_that_it_still_ran() -> None:
    change = decide(replace(RUNNING, overdue="it still ran when its run deadline passed"), DONE, CLUSTER).change
    assert change is not None
    assert (change.state, change.message) == (State.SUCCEEDED, "")


def pod(phase: str, type_: str = "Pod") -> Sighting:
    return replace(SEEN, nodes=(NodeStatus("n", "n", type_, phase, "", (), None, None, None),))


def test_a_workflow_has_begun_when_something_of_it_has_run_not_when_argo_has_looked_at_it() -> None:
    for seen, begun in (
        (SEEN, False),
        (pod("Pending"), False),
        (pod("Running", "Steps"), False),
        (pod("Running"), True),
        (pod("Failed"), True),
        (pod("Running", "Suspend"), True),
        (replace(SEEN, nodes=None), True),
    ):
        change = decide(replace(RUNNING, state=State.PENDING), seen, CLUSTER).change
        assert change is not None
        assert change.began is begun


def test_that_a_workflow_has_begun_is_written_once() -> None:
    assert decide(RUNNING, pod("Running"), CLUSTER).change is not None
    assert decide(replace(RUNNING, began=True), pod("Running"), CLUSTER).change is None
    assert decide(replace(RUNNING, began=True), pod("Pending"), CLUSTER).change is None


def test_a_workflow_that_was_ended_because_of_a_deadline_says_so_and_a_cancelled_one_too() -> None:
    ended = replace(SEEN, phase="Failed", message="Stopped with strategy 'Terminate'")
    change = decide(replace(RUNNING, overdue="too late"), ended, CLUSTER).change
    assert change is not None
    assert (change.state, change.message) == (State.FAILED, "too late")
    cancelled = decide(replace(RUNNING, overdue="too late", cancel_requested=True), ended, CLUSTER).change
    assert cancelled is not None
    assert cancelled.state is State.CANCELLED


@pytest.mark.parametrize("deleting", [True, False])
@pytest.mark.parametrize("why", [State.CANCELLED, State.DELETED, State.LOST, State.SUCCEEDED])
def test_a_workflow_that_was_ended_for_a_state_which_the_database_has_lost_has_that_state(
    why: State, deleting: bool
) -> None:
    """Found by the audit: a restored database took what Argo makes of the terminate that answers a deletion for how the job had ended."""
    message = "Stopped with strategy 'Terminate'"
    ended = replace(SEEN, phase="Failed", message=message, ended=why, deleting=deleting, pods_ended=True)
    change = decide(RUNNING, ended, CLUSTER).change
    assert change is not None
    assert change.state is why


def test_a_workflow_that_is_ended_says_for_which_state() -> None:
    assert decide(replace(RUNNING, cancel_requested=True), SEEN, CLUSTER).ended is State.CANCELLED
    assert decide(RUNNING, replace(SEEN, deleting=True), CLUSTER).ended is State.DELETED
    assert decide(replace(RUNNING, state=State.FAILED), SEEN, CLUSTER).ended is State.FAILED
    assert decide(RUNNING, SEEN, CLUSTER).ended is None


@pytest.mark.parametrize(
    ("known", "seen"),
    [
        (replace(RUNNING, cancel_requested=True), ENDED),
        (replace(RUNNING, overdue="too long"), ENDED),
        (RUNNING, replace(ENDED, ended=State.CANCELLED)),
        (replace(SUBMITTING, cancel_requested=True), ENDED),
        (replace(RUNNING, cancel_requested=True), replace(SEEN, deleting=True)),
        (replace(RUNNING, cancel_requested=True), replace(ENDED, deleting=True)),
        (replace(RUNNING, cancel_requested=True), replace(SEEN, gone=True)),
        (replace(RUNNING, cancel_requested=True), gone(UID, 1, "k1", None)),
    ],
)
def test_what_argosy_ended_has_not_ended_before_its_pods_have(known: Known, seen: Sighting) -> None:
    unasked = decide(known, seen, CLUSTER)
    assert unasked.ending
    assert not unasked.release
    assert (unasked.change is None) == (known.k8s_uid is not None)
    before = decide(known, replace(seen, pods_ended=False), CLUSTER)
    assert before.ending
    assert not before.release
    assert before.change is not None
    assert before.change.state not in FINAL
    assert "its pods still run" in before.change.message
    after = decide(known, replace(seen, pods_ended=True), CLUSTER)
    assert not after.ending
    assert after.change is not None
    assert after.change.state in FINAL


@pytest.mark.parametrize(
    ("known", "seen"),
    [
        (RUNNING, ENDED),
        (replace(RUNNING, cancel_requested=True), replace(ENDED, shutdown=False)),
        (RUNNING, replace(SEEN, deleting=True)),
        (replace(RUNNING, state=State.CANCELLED, cancel_requested=True), ENDED),
    ],
    ids=["somebody-else-ended-it", "it-failed-by-itself", "somebody-deletes-it", "it-is-recorded"],
)
def test_no_other_end_waits_for_pods(known: Known, seen: Sighting) -> None:
    assert not decide(known, seen, CLUSTER).ending
