"""The parameters of a launch: every name once, no value that Argo would expand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from argosy.errors import InvalidRequest
from argosy.manifest import MEDIA_IDS_LIMIT, RESERVED, files_per_job_that_fits, media_ids_text, merge_parameters
from argosy.manifest.scalars import Scalar
from argosy.shapes.given import PARAMETERS_LIMIT
from tests.unit.manifest.samples import Value


def test_the_algorithms_parameters_come_before_the_launchs() -> None:
    assert merge_parameters([Value("b", "1"), Value("a", 2)], [Value("c", True)]) == [
        ("b", "1"),
        ("a", "2"),
        ("c", "true"),
    ]


@pytest.mark.parametrize(("algorithm", "extra"), [("aa", ""), ("", "aa"), ("a", "a")])
def test_a_name_given_twice_is_refused(algorithm: str, extra: str) -> None:
    with pytest.raises(InvalidRequest, match=r'"a".*twice'):
        merge_parameters([Value(name, "") for name in algorithm], [Value(name, "") for name in extra])


@pytest.mark.parametrize("name", RESERVED)
def test_a_reserved_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f'"{name}".*reserved'):
        merge_parameters([], [Value(name, "x")])


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a}}", "ä", "a\n"])
def test_a_name_that_argo_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="letters, digits"):
        merge_parameters([Value(name, "x")], [])


@pytest.mark.parametrize(
    "value",
    [
        "{{workflow.name}}",
        "a{{",
        "{{=1+1}}",
        "ends in {",
        '["\\u007b\\u007b=1}}"]',
        '"\\u007B"',
        "a\0b",
        "\ud800",
        float("nan"),
    ],
)
def test_a_value_that_argo_would_expand_or_cannot_hold_is_refused(value: Scalar) -> None:
    with pytest.raises(InvalidRequest, match='launch parameter "p"'):
        merge_parameters([], [Value("p", value)])


@pytest.mark.parametrize("value", ['{"a": {"b": 1}}', "}}", "{", "$(HOME)", "$'\"\n", "{ {"])
def test_other_braces_and_quotes_are_values(value: str) -> None:
    if value.endswith("{"):
        with pytest.raises(InvalidRequest):
            merge_parameters([Value("p", value)], [])
    else:
        assert merge_parameters([Value("p", value)], []) == [("p", value)]


@given(st.lists(st.text("{}=a", max_size=6), min_size=1, max_size=4))
def test_accepted_values_do_not_open_a_template_in_any_order(values: list[str]) -> None:
    accepted = []
    for value in values:
        try:
            accepted += [text for _, text in merge_parameters([Value("p", value)], [])]
        except InvalidRequest:
            continue
    assert "{{" not in "".join(accepted)


def test_media_ids_are_decimal_and_keep_their_order() -> None:
    assert media_ids_text([12, 3, 4567]) == "12,3,4567"


@given(st.lists(st.integers(0, 10**12), max_size=40), st.integers(13, 80))
def test_the_files_per_job_that_fits_is_the_largest_that_does(media_ids: list[int], limit: int) -> None:
    def fits(size: int) -> bool:
        return all(len(media_ids_text(media_ids[at : at + size])) <= limit for at in range(0, len(media_ids), size))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("argosy.manifest.parameters.MEDIA_IDS_LIMIT", limit)
        found = files_per_job_that_fits(media_ids)
    assert found == max((size for size in range(1, len(media_ids) + 1) if fits(size)), default=1)


def test_a_batch_just_at_the_limit_fits() -> None:
    ids = [1] * (MEDIA_IDS_LIMIT // 2)
    assert len(media_ids_text([*ids, 1])) == MEDIA_IDS_LIMIT + 1
    assert files_per_job_that_fits([*ids, 1]) == len(ids)


def test_parameters_are_refused_that_add_up_to_what_no_cluster_takes() -> None:
    half = "x" * (PARAMETERS_LIMIT // 2 - 1)
    assert len(merge_parameters([Value("a", half)], [Value("b", half)])) == 2
    with pytest.raises(InvalidRequest, match=f"have {PARAMETERS_LIMIT + 1} bytes, and all .* {PARAMETERS_LIMIT}"):
        merge_parameters([Value("a", half)], [Value("b", half + "x")])
    with pytest.raises(InvalidRequest, match="bytes"):
        merge_parameters([], [Value("a", "é" * (PARAMETERS_LIMIT // 2))])
