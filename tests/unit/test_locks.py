"""The locks: what the image runs, what builds it, and what a developer has besides."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_PIN = re.compile(r"^([a-z0-9-]+)==(\S+)( ; [^\\]+?)?(?= \\$)", re.MULTILINE)


def pins(name: str) -> set[tuple[str, ...]]:
    """Name, version and marker of each package of a lock."""
    return set(_PIN.findall((ROOT / name).read_text()))


def names(requirements: list[Any]) -> set[str]:
    """Of packages; a group may include another one, which is no name."""
    return {re.split(r"[\[<>=;! ]", each, maxsplit=1)[0] for each in requirements if isinstance(each, str)}


def test_the_image_runs_what_developers_test() -> None:
    assert pins("requirements.lock") | pins("requirements-build.lock") < pins("requirements-dev.lock")


def test_the_image_has_no_demo_no_tests_and_no_tools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    locked = {name for name, *_ in pins("requirements.lock")}
    wanted = names(project["project"]["dependencies"] + extras["worker"] + extras["api"]) - {"argosy"}
    assert wanted <= locked
    unwanted = (names(extras["demo"]) | names(project["dependency-groups"]["dev"])) - wanted - {"argosy"}
    # Starlette is what FastAPI is built on.
    assert unwanted & locked <= {"starlette"}


def test_everything_that_the_wheel_is_made_of_goes_to_the_builder() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = re.findall(r"^COPY (\S+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    for source in (*wheel["packages"], *wheel["force-include"]):
        assert source in copied
        assert source in let_in
