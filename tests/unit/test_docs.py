"""What the code names, the documentation says; and what the documentation says, a test shows."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "worker" / "docs"

_ID = re.compile(r"\b([APFT][1-9]\d?)\b")
_HEADING = re.compile(r"^## ([APFT]\d+) ", re.MULTILINE)


def sections(*names: str) -> dict[str, str]:
    """The text of each section by its id."""
    found: dict[str, str] = {}
    for name in names:
        for part in re.split(r"^## ", (DOCS / name).read_text(), flags=re.MULTILINE)[1:]:
            found[part.split(" ", 1)[0]] = part
    return found


@cache
def functions_of(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def named(path: Path) -> set[str]:
    """Ids in the docstrings and comments of a module, in brackets as references are written: (P1), (F8, F9 and F10)."""
    return {each for text in re.findall(r"\(([^()]*)\)", path.read_text()) for each in _references(text)}


def _references(text: str) -> set[str]:
    words = re.split(r":|, | and ", re.sub(r"\s+", " ", text.replace("#", "")))
    return {word for word in words if _ID.fullmatch(word)}


def test_every_id_that_the_code_names_is_in_the_documentation() -> None:
    known = set(sections("architecture.md", "promises.md", "faults.md"))
    sources = [*(ROOT / "worker" / "argosy").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    found = {path: ids for path in sources if (ids := named(path))}
    assert len(found) > 40
    assert {str(path): ids - known for path, ids in found.items() if ids - known} == {}


def test_no_id_stands_twice() -> None:
    ids = [each for path in DOCS.glob("*.md") for each in _HEADING.findall(path.read_text())]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("name", "section"), sections("promises.md", "faults.md").items(), ids=lambda given: given[:4])
def test_each_promise_and_fault_names_tests_that_are_there(name: str, section: str) -> None:
    tests = re.findall(r"(tests/[\w/]+\.py)::(\w+)", section)
    assert tests or (name.startswith("T") and "Tests: none yet" in section)
    assert [each for each in tests if each[1] not in functions_of(ROOT / each[0])] == []


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_path_in_the_documentation_is_there(document: Path) -> None:
    paths = re.findall(r"`([\w./-]+(?:\.(?:py|json|yaml|toml)|/))`", document.read_text())
    assert [path for path in paths if not any((base / path).exists() for base in (ROOT, ROOT / "worker/argosy"))] == []


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_every_name_that_is_said_to_be_in_a_module_is_there(document: Path) -> None:
    found = re.findall(r"`([\w.]+)` in\s+`([\w./-]+\.py)`", document.read_text())
    paths = {
        path: next(base / path for base in (ROOT / "worker/argosy", ROOT) if (base / path).exists())
        for _, path in found
    }
    assert [(n, path) for n, path in found if n.split(".")[-1] not in paths[path].read_text()] == []


def test_whoever_is_woken_looks_in_the_namespace_into_which_the_chart_is_installed() -> None:
    install = re.search(
        r"helm install argosy helm/argosy --namespace (\S+)", (ROOT / "helm/argosy/README.md").read_text()
    )
    assert install is not None
    pages = "".join(page.read_text() for page in DOCS.rglob("*.md"))
    used = re.findall(r"kubectl --namespace (\S+) (?:\S+ )*?(?:deployment/argosy-|--selector app)", pages)
    assert len(used) > 10
    assert set(used) == {install[1]}
