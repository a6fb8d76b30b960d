from hypothesis import given
from hypothesis import strategies as st

from argosy.states import ACTIVE, FINAL, PHASE_STATE, TRANSITIONS, State, observed, rest_status

REOPENING = {State.DELETED, State.LOST, State.REJECTED}


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(State) >= FINAL | ACTIVE | {State.QUEUED}
    assert not FINAL & ACTIVE


@given(st.lists(st.sampled_from(State), max_size=20))
def test_no_walk_leaves_an_end_but_through_a_reappearance(walk: list[State]) -> None:
    state = State.QUEUED
    for target in walk:
        if target not in TRANSITIONS[state]:
            continue
        assert state not in FINAL or state in REOPENING
        state = target


def test_every_state_can_be_reached_and_every_walk_can_end() -> None:
    reached, frontier = {State.QUEUED}, [State.QUEUED]
    while frontier:
        for target in TRANSITIONS[frontier.pop()] - reached:
            reached.add(target)
            frontier.append(target)
    assert reached == set(State)
    assert all(TRANSITIONS[state] & FINAL for state in State if state not in FINAL)


def test_nothing_goes_back_to_the_queue_once_it_was_seen_on_a_cluster() -> None:
    assert {state for state, targets in TRANSITIONS.items() if State.QUEUED in targets} == {State.SUBMITTING}


def test_a_workflow_that_fails_under_a_cancel_is_cancelled_and_one_that_succeeds_is_not() -> None:
    assert observed("Failed", State.CANCELLED) is State.CANCELLED
    assert observed("Error", State.CANCELLED) is State.CANCELLED
    assert observed("Succeeded", State.CANCELLED) is State.SUCCEEDED


def test_a_phase_of_a_later_argo_is_no_state() -> None:
    assert observed("Contemplating", State.CANCELLED) is None


def test_the_rest_status_is_argos_phase_for_a_workflow() -> None:
    for phase, state in PHASE_STATE.items():
        assert rest_status(state, cancel_requested=False) == (phase or "Pending")
    assert rest_status(State.QUEUED, cancel_requested=False) == "Queued"
    assert rest_status(State.RUNNING, cancel_requested=True) == "Cancelling"
    assert rest_status(State.CANCELLED, cancel_requested=True) == "Cancelled"
