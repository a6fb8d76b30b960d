"""Who gets the threads of a lane."""

from threading import Event

from argosy.launch.lanes import Lane

WAIT = 10


class Busy:
    """Work that lasts until it is let go, and what was begun."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._marks: dict[str, Event] = {}
        self._gates: dict[str, Event] = {}

    def __call__(self, item: str) -> bool:
        self.begun.append(item)
        self._of(self._marks, item).set()
        assert self._of(self._gates, item).wait(WAIT)
        return False

    def wait(self, item: str) -> None:
        assert self._of(self._marks, item).wait(WAIT), f"{item} was not begun, only {self.begun}"

    def let_go(self, item: str) -> None:
        self._of(self._gates, item).set()

    def _of(self, events: dict[str, Event], item: str) -> Event:
        return events.setdefault(item, Event())


def test_one_owner_has_no_more_than_its_share_and_the_next_owner_passes_by() -> None:
    busy = Busy()
    lane = Lane("test", threads=3, share=2, work=busy)
    for item in ("a1", "a2", "a3"):
        lane.put(1, item)
    lane.put(2, "b1")
    for item in ("a1", "a2", "b1"):
        busy.wait(item)
    assert sorted(busy.begun) == ["a1", "a2", "b1"]
    busy.let_go("a1")
    busy.wait("a3")
    lane.stop()
    for item in ("a2", "a3", "b1"):
        busy.let_go(item)


def test_an_item_that_waits_or_is_worked_on_is_not_put_twice() -> None:
    busy = Busy()
    lane = Lane("test", threads=1, share=1, work=busy)
    lane.put(1, "first")
    busy.wait("first")
    for _ in range(3):
        assert lane.put(1, "first")
        assert lane.put(1, "second")
    lane.put(1, "third")
    for item in ("first", "second", "third"):
        busy.let_go(item)
    busy.wait("third")
    assert busy.begun == ["first", "second", "third"]
    lane.stop()


def test_what_wants_another_turn_waits_behind_the_others() -> None:
    turns: list[str] = []
    begin, done = Event(), Event()

    def work(item: str) -> bool:
        begin.wait(WAIT)
        turns.append(item)
        if len(turns) == 5:
            done.set()
        return item == "large" and turns.count("large") < 3

    lane = Lane("test", threads=1, share=1, work=work)
    for item in ("large", "small-1", "small-2"):
        lane.put(1, item)
    begin.set()
    assert done.wait(WAIT)
    assert turns == ["large", "small-1", "small-2", "large", "large"]
    lane.stop()


def test_an_item_that_fails_takes_no_thread_with_it() -> None:
    done = Event()

    def work(item: str) -> bool:
        if item == "poison":
            raise RuntimeError("boom")
        done.set()
        return False

    lane = Lane("test", threads=1, share=1, work=work)
    lane.put(1, "poison")
    lane.put(1, "good")
    assert done.wait(WAIT)
    lane.stop()


def test_a_full_lane_takes_nothing_more() -> None:
    busy = Busy()
    lane = Lane("test", threads=0, share=1, work=busy)
    assert all(lane.put(1, str(number)) for number in range(1000))
    assert not lane.put(1, "one more")
    assert lane.put(1, "0")
