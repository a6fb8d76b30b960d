"""The filter of a page, as chips and as a form."""

from urllib.parse import urlencode

import pytest

from argosy.api.page.filters import chips, filtered, form, narrows
from argosy.api.page.rendering import end_of
from argosy.errors import InvalidRequest
from argosy.shapes.filters import JobFilter

EVERYTHING = (
    "project=1&project=5&gid=01234567-0123-11ef-8123-0123456789ab&index=3&status=Error&status=Failed&failed=true&error=deadbeef"
    "&algorithm=a+b&cluster=c&user=7&media=9&param=a%3D1&param=threshold%3D0.5&since=2026-11-29T14:30:05Z"
    "&until=2026-11-29T14:30:05.123456Z&sort=oldest"
)
FIELDS = (
    ("project", "Project", "text"), ("status", "Status", "status"), ("failed", "Failures", "failed"), ("param", "Parameter", "text"),
    ("since", "Since", "datetime-local"), ("until", "Until", "datetime-local"), ("sort", "Order", "sort"),
)  # fmt: skip


def sent(where: JobFilter) -> str:
    """What a browser sends of the form as it is."""
    pairs = [(part.name, value) for part in form(where, FIELDS) for value in part.values]
    pairs += [("status", each) for each in where.status] + [("failed", "true" if where.failed else "")]
    pairs += [("sort", "oldest" if where.sort == "oldest" else "")]
    return urlencode(pairs)


@pytest.mark.parametrize(
    "query",
    ["", EVERYTHING, urlencode([("project", each) for each in range(1, 100)]), "cursor=" + "0" * 64],
    ids=["none", "everything", "many", "a later page"],
)
def test_a_form_that_is_sent_as_it_is_keeps_the_whole_filter(query: str) -> None:
    where = filtered(query)
    assert filtered(sent(where)) == where.but()


def test_each_value_of_a_filter_has_a_chip_that_takes_just_it_away() -> None:
    where = filtered(EVERYTHING)
    told = {(each.name, each.value): JobFilter.of_query(each.without) for each in chips(where)}
    assert len(told) == 17
    assert told["project", "5"] == where.but(project=(1,))
    assert told["param", "threshold=0.5"] == where.but(param=("a=1",))
    assert told["failed", "yes"] == where.but(failed=False)
    assert told["sort", "oldest"] == where.but(sort="newest")
    assert "gid" not in {each.name for each in chips(where, ("gid",))}


def test_many_values_of_one_field_are_one_chip() -> None:
    (chip,) = chips(filtered(urlencode([("project", each) for each in range(1, 100)])))
    assert (chip.value, chip.without) == ("1, 2, 3 and 96 more", "")


def test_a_filter_that_is_too_long_for_a_page_is_refused_with_what_to_do() -> None:
    for query in (
        urlencode([("project", each) for each in range(1, 1000)]),
        urlencode([("param", f"a={each}" + "x" * 700) for each in range(20)]),
    ):
        with pytest.raises(InvalidRequest, match=r"more than 1500 characters.*argosy list"):
            filtered(query)


def test_how_many_rows_a_page_has_is_not_the_filters() -> None:
    assert filtered("limit=7").query() == ""
    assert not narrows(filtered("limit=7&sort=oldest&gid=01234567-0123-11ef-8123-0123456789ab"), ("gid",))
    assert narrows(filtered("index=0"))


@pytest.mark.parametrize("letter", ["a", "<", "é", "\x00", '"', "😀"])
@pytest.mark.parametrize("most", [0, 1, 5, 1000])
def test_the_end_of_a_log_is_no_longer_on_a_page_than_it_may_be(letter: str, most: int) -> None:
    end = end_of("x" + letter * 10_000, most)
    size = len(end.replace("<", "&lt;").replace('"', "&#34;").replace("\x00", "\ufffd").encode())
    assert size <= most
    assert size > most - 12
