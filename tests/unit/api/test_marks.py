"""How states look."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from argosy.api.page.marks import ORDER, TONES, parts, tone
from argosy.states import State, rest_status


def test_every_status_has_a_place_and_a_tone() -> None:
    statuses = {rest_status(state, False) for state in State} | {rest_status(State.RUNNING, True)}
    assert statuses == set(ORDER)
    assert {tone(status) for status in statuses} <= set(TONES)


@given(st.dictionaries(st.sampled_from(ORDER), st.integers(0, 100_000)))
def test_a_bar_is_full_and_every_status_can_be_seen(counts: dict[str, int]) -> None:
    found = [*parts(counts)]
    assert {part.status for part in found} == {status for status, count in counts.items() if count}
    if found:
        assert abs(sum(part.width for part in found) - 1000) < len(found)
        assert min(part.width for part in found) > 3
        assert all(abs(one.x + one.width - two.x) < 0.3 for one, two in pairwise(found))
