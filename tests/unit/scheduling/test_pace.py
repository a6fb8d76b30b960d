"""The window: grows while a cluster keeps up, is halved when it does not, and never closes."""

from hypothesis import given
from hypothesis import strategies as st

from argosy.scheduling.pace import FIRST, LEAST, STEP, grown, halved

WINDOWS = st.integers(LEAST, 100_000)


@given(window=WINDOWS, active=st.integers(0, 100_000), late=st.integers(0, 100_000))
def test_a_window_never_closes_and_grows_by_no_more_than_a_step(window: int, active: int, late: int) -> None:
    assert LEAST <= grown(window, active, late) <= window + STEP


@given(window=WINDOWS)
def test_a_full_window_grows_while_nothing_lies_about(window: int) -> None:
    assert grown(window, window, 0) == window + STEP


@given(window=WINDOWS)
def test_a_window_that_is_not_used_stays(window: int) -> None:
    assert grown(window, window - STEP - 1, 0) == window


@given(window=WINDOWS)
def test_a_few_that_lie_about_stop_the_growth_and_a_pile_halves(window: int) -> None:
    assert grown(window, window, 1) == window
    assert grown(window, window, window // 4) == window
    assert grown(window, window, window // 4 + 1) == max(window // 2, LEAST)


@given(window=WINDOWS)
def test_a_push_back_halves_down_to_the_least(window: int) -> None:
    assert halved(window) == max(window // 2, LEAST)


def test_a_cluster_that_recovers_comes_back_to_where_it_was() -> None:
    window = FIRST
    while window > LEAST:
        window = halved(window)
    looks = 0
    while window < FIRST:
        window, looks = grown(window, window, 0), looks + 1
    assert looks == -(-(FIRST - LEAST) // STEP)
