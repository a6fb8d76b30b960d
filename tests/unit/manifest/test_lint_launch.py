"""A launch that is refused is refused by lint in the same words."""

import pytest

from argosy import manifest
from argosy.errors import InvalidRequest
from argosy.manifest import STRICTEST, check_launch, lint_launch, load, merge_parameters
from argosy.shapes.given import Parameter
from tests.unit.manifest.samples import ONE_CONTAINER

CHOOSY = ONE_CONTAINER.replace(
    "spec:\n",
    "spec:\n  arguments:\n    parameters:\n      - {name: mode, value: fast, enum: [fast, thorough]}\n      - {name: must}\n",
    1,
)

OWN = [Parameter(name="must", value="x")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gid", "1"),
        ("json", "1"),
        ("must", "again"),
        ("", "1"),
        ("a b", "1"),
        ("mode", "slow"),
        ("mode", "{{=1}}"),
        ("x", "y" * 2_000_000),
    ],
)
def test_lint_refuses_what_launch_refuses(name: str, value: str) -> None:
    extra = [Parameter.model_construct(name=name, value=value)]
    with pytest.raises(InvalidRequest) as refused:
        check_launch(load(CHOOSY), merge_parameters(OWN, extra), STRICTEST)
    assert str(refused.value) in [each.problem for each in lint_launch(CHOOSY, OWN, extra) if not each.warning]


def test_lint_says_all_that_is_wrong_with_a_launch_at_once() -> None:
    extra = [
        Parameter(name=name, value=value) for name, value in (("gid", 1), ("mode", "slow"), ("uid", 2), ("uid", 3))
    ]
    assert [each.problem.partition(":")[0] for each in lint_launch(CHOOSY, OWN, extra)] == [
        'launch parameter "gid"',
        'launch parameter "uid"',
        'launch parameter "uid"',
        'parameter "mode"',
    ]


def test_a_parameter_that_nothing_reads_is_a_warning() -> None:
    (found,) = lint_launch(CHOOSY, OWN, [Parameter(name="moed", value="fast")])
    assert (found.warning, found.problem) == (
        True,
        'launch parameter "moed": the manifest neither declares nor reads it',
    )
    assert lint_launch(CHOOSY, OWN, [Parameter(name="mode", value="thorough")]) == []


def test_a_manifest_that_cannot_be_read_is_for_lint_alone() -> None:
    assert lint_launch("{", OWN, [Parameter(name="gid", value=1)]) == []
    assert len(manifest.lint("{")) == 1
