"""Whose turn it is: nobody starves, weights count, limits hold, whatever ends when."""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from argosy.scheduling.fair import Tenant, User, charge, earliest, picks

WEIGHTS = st.sampled_from([0.1, 0.5, 1.0, 2.0, 3.0, 10.0])


class Slots:
    """A cluster: `serve` gives a free slot to whoever's turn it is, `end` frees one."""

    def __init__(self, slots: int, weights: dict[int, float], users: int = 1, limit: int | None = None) -> None:
        self.slots, self.now = slots, 0.0
        self.tenants: dict[int, Tenant] = {}
        self.running: list[tuple[int, int]] = []
        for project, weight in weights.items():
            self.join(project, weight, users, limit)

    def join(self, project: int, weight: float = 1.0, users: int = 1, limit: int | None = None) -> None:
        self.tenants[project] = Tenant(weight, limit, users={user: User() for user in range(users)})

    def serve(self) -> tuple[int, int] | None:
        since = earliest(self.tenants, self.now)
        chosen = next(picks(self.tenants, self.slots, since), None)
        if chosen is not None:
            project, user = chosen
            self.now = max(self.now, charge(self.tenants[project], user, since))
            self.running.append(chosen)
        return chosen

    def end(self, which: int = 0) -> None:
        project, user = self.running.pop(which % len(self.running))
        self.tenants[project].active -= 1
        self.tenants[project].users[user].active -= 1

    def run(self, services: int, which: Callable[[], int] = lambda: 0) -> list[tuple[int, int]]:
        """Serve so many, ending one when all slots are taken."""
        served = []
        for _ in range(services):
            if len(self.running) >= self.slots:
                self.end(which())
            chosen = self.serve()
            assert chosen is not None
            served.append(chosen)
        return served


@given(
    weights=st.lists(WEIGHTS, min_size=2, max_size=7),
    slots=st.integers(1, 20),
    before=st.integers(0, 150),
    data=st.data(),
)
def test_whoever_waits_without_a_running_job_is_served_within_a_bound(
    weights: list[float], slots: int, before: int, data: st.DataObject
) -> None:
    """Each other tenant comes first at most as often as it can pay from the earliest start, one job of the lightest before the present, to
    the own one, at most one own job after it; the present never goes back."""
    cluster = Slots(slots, dict(enumerate(weights)))
    draw = st.integers(0, 19)
    ends = data.draw(st.lists(draw, min_size=1, max_size=40))
    waited = dict.fromkeys(cluster.tenants, 0)
    for step in range(before + 100):
        if len(cluster.running) >= slots:
            cluster.end(ends[step % len(ends)])
        chosen = cluster.serve()
        assert chosen is not None
        for project, tenant in cluster.tenants.items():
            waited[project] = 0 if project == chosen[0] or tenant.active else waited[project] + 1
            own = weights[project]
            late = 1 / own + 1 / min(weights)
            bound = sum(int(other * late + 1e-6) + 1 for name, other in enumerate(weights) if name != project)
            assert waited[project] <= bound, (project, waited)


@given(
    tenants=st.integers(1, 12),
    slots=st.integers(1, 20),
    before=st.integers(0, 100),
    late=st.booleans(),
    which=st.integers(0, 19),
    weight=WEIGHTS,
)
def test_a_newcomer_is_served_within_as_many_slots_as_there_are_tenants(
    tenants: int, slots: int, before: int, late: bool, which: int, weight: float
) -> None:
    """Whatever its weight, and whether its number is the lowest or the highest."""
    cluster = Slots(slots, dict.fromkeys(range(1, tenants + 1), 1.0))
    cluster.run(before, lambda: which)
    newcomer = 1000 if late else 0
    cluster.join(newcomer, weight)
    served = [project for project, _ in cluster.run(tenants + 1, lambda: which)]
    assert newcomer in served


@given(weights=st.lists(WEIGHTS, min_size=1, max_size=6), services=st.integers(1, 400))
def test_one_slot_is_shared_by_weight_to_within_a_job_of_each(weights: list[float], services: int) -> None:
    """Goyal, Vin, Cheng 1996, theorem 1: what two of them got, by weight, never differs by more than one job of both."""
    cluster = Slots(1, dict(enumerate(weights)))
    served = Counter(project for project, _ in cluster.run(services))
    for one, own in enumerate(weights):
        for two, other in enumerate(weights):
            assert abs(served[one] / own - served[two] / other) <= 1 / own + 1 / other + 1e-6


@given(shares=st.lists(st.integers(1, 6), min_size=1, max_size=6), ends=st.lists(st.integers(0, 35), min_size=1))
def test_shares_that_are_whole_numbers_are_had_exactly_whatever_ends(shares: list[int], ends: list[int]) -> None:
    """Long jobs of one do not crowd out short jobs of another."""
    cluster = Slots(sum(shares), {project: float(share) for project, share in enumerate(shares)})
    cluster.run(cluster.slots)
    for which in ends:
        assert [tenant.active for tenant in cluster.tenants.values()] == shares
        cluster.end(which)
        cluster.serve()


@given(
    weights=st.lists(WEIGHTS, min_size=1, max_size=6),
    slots=st.integers(1, 20),
    asked=st.integers(0, 60),
    data=st.data(),
)
def test_no_limit_is_ever_exceeded_and_all_room_below_the_limits_is_given(
    weights: list[float], slots: int, asked: int, data: st.DataObject
) -> None:
    limits = [data.draw(st.none() | st.integers(0, 5)) for _ in weights]
    active = [data.draw(st.integers(0, 8)) for _ in weights]
    tenants = {
        project: Tenant(weight, limits[project], active[project], users={0: User(active[project])})
        for project, weight in enumerate(weights)
    }
    got = Counter(project for project, _ in islice(picks(tenants, slots, 0.0), asked))
    room = 0
    for project, limit in enumerate(limits):
        if limit is not None:
            assert got[project] <= max(limit - active[project], 0)
        room += asked if limit is None else max(limit - active[project], 0)
    assert got.total() == min(asked, room)


@given(
    users=st.integers(1, 5), services=st.integers(1, 60), slots=st.integers(1, 12), ends=st.lists(st.integers(0, 11))
)
def test_users_of_a_tenant_take_turns(users: int, services: int, slots: int, ends: list[int]) -> None:
    cluster = Slots(slots, {1: 1.0, 2: 1.0}, users)
    endings = iter(ends * (services + 1))
    served = cluster.run(services, lambda: next(endings, 0))
    for project, tenant in cluster.tenants.items():
        counts = sorted(Counter(user for of, user in served if of == project).values())
        if not ends:
            assert len(counts) < users or counts[-1] - counts[0] <= 1
        # The next is one of those with the fewest running jobs.
        chosen = next((user for of, user in picks(cluster.tenants, slots, cluster.now) if of == project))
        assert tenant.users[chosen].active == min(user.active for user in tenant.users.values())


@given(away=st.integers(1, 200), others=st.integers(1, 5))
def test_a_tenant_that_returns_has_a_credit_of_one_job_however_long_it_was_away(away: int, others: int) -> None:
    cluster = Slots(1, dict.fromkeys(range(others + 1), 1.0))
    cluster.run(others + 1)
    gone = cluster.tenants.pop(0)
    cluster.run(away)
    gone.active = gone.users[0].active = 0
    cluster.tenants[0] = gone
    served = Counter(project for project, _ in cluster.run(4 * (others + 1)))
    assert served[0] <= 6
    assert max(served.values()) - min(served.values()) <= 3


def test_a_tenant_that_had_everything_does_not_wait_for_that_when_another_comes() -> None:
    cluster = Slots(1, {1: 1.0})
    cluster.run(10_000)
    cluster.join(2)
    served = Counter(project for project, _ in cluster.run(10))
    assert served == {1: 4, 2: 6}


@given(
    weights=st.lists(WEIGHTS, min_size=2, max_size=6), slots=st.integers(1, 20), ends=st.randoms(use_true_random=False)
)
@example([0.5, 0.5, 2.0], 3, Random(1))
@settings(max_examples=30)
def test_slots_are_had_by_weight_even_where_shares_are_no_whole_numbers(
    weights: list[float], slots: int, ends: Random
) -> None:
    """A light tenant that is served early because it has no running job took what a heavy one had coming to it."""
    services = 2000
    cluster = Slots(slots, dict(enumerate(weights)))
    got = Counter(project for project, _ in cluster.run(services, lambda: ends.randrange(slots)))
    for project, weight in enumerate(weights):
        part = services * weight / sum(weights)
        assert abs(got[project] - part) <= 0.2 * part + 2 * slots


def test_long_jobs_that_hold_more_than_their_share_let_short_ones_by() -> None:
    cluster = Slots(4, {1: 1.0})
    cluster.run(4)
    cluster.join(2)
    for _ in range(10):  # only the short jobs end
        if (2, 0) in cluster.running:
            cluster.end(cluster.running.index((2, 0)))
        else:
            cluster.end()
        assert cluster.serve() == (2, 0)


@given(
    weights=st.dictionaries(st.integers(1, 9), WEIGHTS, min_size=1),
    slots=st.integers(1, 20),
    now=st.floats(0, 1e6),
)
def test_the_order_in_which_tenants_are_read_does_not_matter(weights: dict[int, float], slots: int, now: float) -> None:
    def order(names: list[int]) -> list[tuple[int, int]]:
        tenants = {name: Tenant(weights[name], users={2: User(), 1: User()}) for name in names}
        return list(islice(picks(tenants, slots, now), 30))

    assert order(sorted(weights)) == order(sorted(weights, reverse=True))


@given(weights=st.lists(WEIGHTS, min_size=1, max_size=6), users=st.integers(1, 4), asked=st.integers(1, 200))
def test_what_is_claimed_at_once_is_shared_by_weight_and_users_take_turns_too(
    weights: list[float], users: int, asked: int
) -> None:
    cluster = Slots(1, dict(enumerate(weights)), users)
    at_once = list(islice(picks(cluster.tenants, 1, 0.0), asked))
    got = Counter(project for project, _ in at_once)
    for one, own in enumerate(weights):
        of_users = Counter(user for project, user in at_once if project == one)
        assert max(of_users.values(), default=0) - min(of_users[user] for user in range(users)) <= 1
        for two, other in enumerate(weights):
            assert abs(got[one] / own - got[two] / other) <= 1 / own + 1 / other + 1e-6


@given(now=st.floats(1, 1e6), asked=st.integers(1, 40))
def test_whoever_returns_has_no_more_credit_in_what_is_claimed_at_once(now: float, asked: int) -> None:
    tenants = {1: Tenant(tag=0.0, users={1: User()}), 2: Tenant(tag=now, users={1: User()})}
    got = Counter(project for project, _ in islice(picks(tenants, 1, earliest(tenants, now)), asked))
    assert abs(got[1] - got[2]) <= 2


@given(weights=st.lists(WEIGHTS, min_size=1, max_size=5), slots=st.integers(1, 10), asked=st.integers(1, 30))
def test_what_is_paid_one_by_one_is_what_was_picked_at_once(weights: list[float], slots: int, asked: int) -> None:
    cluster = Slots(slots, dict(enumerate(weights)))
    at_once = list(islice(picks(cluster.tenants, slots, 0.0), asked))
    paid = Counter(project for project, _ in at_once)
    for project, user in at_once:
        cluster.now = max(cluster.now, charge(cluster.tenants[project], user, 0.0))
    for project, count in paid.items():
        assert abs(cluster.tenants[project].tag - count / weights[project]) < 1e-6
        assert cluster.tenants[project].active == count


def test_who_may_have_nothing_more_gives_nobody_credit() -> None:
    """A light tenant at its limit cannot be served, so nobody has to be given a turn that would come before its own."""
    light, heavy = Tenant(0.01, limit=1, active=1), Tenant()
    assert earliest({1: light, 2: heavy}, 7.0) == earliest({2: heavy}, 7.0) == 6.0
