"""What `argosy cluster check` says of a version of Argo."""

import pytest

from argosy.cli.findings import argo


@pytest.mark.parametrize(
    ("version", "mended"),
    [
        ("v3.7.14", "v3.7.15"),
        ("v3.6.19", "v3.7.15"),
        ("v4.0.5", "v4.0.6"),
        ("v3.7.15", ""),
        ("v3.7.16-fips", ""),
        ("v3.10.0", ""),
        ("v4.1.0", ""),
        ("latest", ""),
    ],
)
def test_an_argo_with_known_holes_is_named_with_the_version_that_mends_them(version: str, mended: str) -> None:
    said = argo(version)
    assert said.startswith(version)
    assert said.partition("which ")[2].partition(" mends")[0] == mended
