"""What we have from others is listed with licences, and an audit that could look up nothing does not say that all is well."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
BOM: dict[str, Any] = {
    "metadata": {"component": {"bom-ref": "root", "name": "argosy"}},
    "components": [
        {"bom-ref": "argo-workflows==6.7.18", "name": "argo-workflows"},
        {"bom-ref": "b==1", "name": "b", "licenses": [{"license": {"id": "MIT"}}]},
    ],
    "dependencies": [{"ref": "root", "dependsOn": ["b==1"]}, {"ref": "b==1"}],
}


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_what_the_wheel_holds_of_others_is_listed_with_its_hash_and_every_component_has_a_licence() -> None:
    made = script("sbom").complete(BOM)
    npm = {each["name"]: each for each in made["components"] if each["bom-ref"].startswith("npm:")}
    assert npm.keys() == {"htmx.org", "idiomorph"}
    assert all(len(each["hashes"][0]["content"]) == 64 for each in npm.values())
    assert all(each["licenses"] for each in made["components"])
    assert set(made["dependencies"][0]["dependsOn"]) == {"b==1", *(each["bom-ref"] for each in npm.values())}


def test_a_component_without_a_licence_is_not_passed_over() -> None:
    bom = BOM | {"components": [{"bom-ref": "c==1", "name": "c"}]}
    with pytest.raises(SystemExit, match="c says no licence"):
        script("sbom").complete(bom)


SKIPPED = {"name": "a", "skip_reason": "not found"}
SOUND = {"name": "b", "version": "1", "vulns": []}
HOLED = {"name": "c", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        ([SOUND], 0, "1 packages, no known hole"),
        ([SOUND, HOLED], 1, "c 1: CVE-1; mended in 2"),
        ([HOLED, SKIPPED], 1, "not looked up, the advisory database does not answer for them: a"),
        ([SOUND, SKIPPED], 2, "not looked up"),
        ([SKIPPED], 2, "nothing was looked up"),
        ([], 2, "nothing was looked up"),
    ],
)
def test_an_audit_says_what_it_found_and_what_it_could_not_look_up(found: Any, code: int, says: str) -> None:
    exit_code, words = script("audit").verdict(found)
    assert exit_code == code
    assert says in " ".join(words)


def test_the_wheel_names_and_holds_the_licences_of_what_is_in_it(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], check=True, capture_output=True, text=True)
    for name in ("LICENSE", "htmx.LICENSE", "idiomorph.LICENSE"):
        assert any(".dist-info/licenses/" in line and f"/{name} " in line for line in listed.stdout.splitlines()), name
