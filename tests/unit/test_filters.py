"""A filter of jobs is a value that an address can hold."""

from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from argosy.errors import InvalidRequest
from argosy.shapes.filters import FAILED, JobFilter, Status
from tests.conftest import ROOT

IDS = st.integers(0, 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=30)
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=30)
TIMES = st.datetimes(datetime(1600, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))
FILTERS = st.builds(
    JobFilter,
    project=st.lists(IDS, max_size=4),
    gid=st.none() | st.uuids(),
    index=st.none() | st.integers(0, 2**31 - 1),
    status=st.lists(st.sampled_from(get_args(Status))),
    failed=st.booleans(),
    error=st.none() | st.text("0123456789abcdef", min_size=8, max_size=8),
    algorithm=st.none() | NAMES,
    cluster=st.none() | NAMES,
    user=st.none() | IDS,
    media=st.none() | IDS,
    param=st.lists(st.builds("{}={}".format, TEXTS.filter(lambda text: "=" not in text), TEXTS), max_size=3),
    since=st.none() | TIMES,
    until=st.none() | TIMES,
    sort=st.sampled_from(["newest", "oldest"]),
    limit=st.integers(1, 1000),
    cursor=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
)


@given(FILTERS)
def test_a_filter_is_the_same_after_it_was_an_address(where: JobFilter) -> None:
    assert JobFilter.of_query(where.query()) == where
    assert where.query().isascii()


@given(FILTERS)
def test_equal_filters_have_equal_addresses(where: JobFilter) -> None:
    turned = JobFilter(**{**where.model_dump(), "status": where.status[::-1], "project": where.project[::-1] * 2})
    assert turned.query() == where.query()


def test_what_a_form_leaves_empty_does_not_filter() -> None:
    assert JobFilter.of_query("algorithm=&user=&status=&since=") == JobFilter()
    assert JobFilter().query() == ""


def test_another_choice_begins_with_the_first_page() -> None:
    where = JobFilter(cursor="0" * 64, user=7)
    assert where.but(failed=True) == JobFilter(failed=True, user=7)
    assert where.but(failed=True).statuses == frozenset(FAILED)


def test_words_are_taken_in_any_case_and_times_without_a_zone_are_utc() -> None:
    where = JobFilter.of_query("status=failed&since=2026-01-01T00:00")
    assert where == JobFilter(status=("Failed",), since=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("statuz=Failed", 'no such field; did you mean "status"?'),
        ("status=Done", "status.0: must be"),
        ("limit=0", "limit: must be greater"),
        ("limit=1001", "limit: must be less"),
        ("user=1&user=2", "user: is there twice"),
        ("param=a", "param.0: must be NAME=VALUE"),
        ("cursor=17", "not the cursor of a page of jobs"),
        ("error=1", "the key of a group of failures"),
        ("algorithm=%00", "NUL"),
        ("since=0001-01-01T00:00%2B23:00", "since: "),
        ("&".join(f"project={n}" for n in range(1001)), "1000 fields"),
    ],
)
def test_what_is_no_filter_is_refused_in_words(query: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why.replace("?", r"\?")):
        JobFilter.of_query(query)


def test_a_filter_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        JobFilter().gid = UUID(int=0)  # type: ignore[misc]


def test_each_field_is_on_the_page_about_finding() -> None:
    page = (ROOT / "worker" / "docs" / "finding.md").read_text()
    told = [
        line.split("|")[2].strip().split("`")[1].partition("=")[0]
        for line in page.splitlines()
        if line.startswith("| `--")
    ]
    assert sorted(told) == sorted(JobFilter.model_fields)
