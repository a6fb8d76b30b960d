"""The example manifests are what they say."""

from pathlib import Path

import orjson
import pytest
import yaml

from argosy.manifest import RESERVED, Renderer, lint
from tests.unit.manifest.samples import UID, frame

FOLDER = Path(__file__).parents[3] / "manifests"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_passes_lint_renders_and_reads_its_media(path: Path) -> None:
    text = path.read_text()
    assert [str(error) for error in lint(text)] == []
    assert "{{workflow.parameters.media_ids}}" in text
    assert orjson.loads(Renderer(frame(text)).render(UID, 1, [1, 2]).body)["kind"] == "Workflow"


def test_the_readme_names_every_example_and_every_parameter() -> None:
    readme = (FOLDER / "README.md").read_text()
    assert [path.name for path in EXAMPLES if f"| `{path.name}` |" not in readme] == []
    assert [name for name in RESERVED if f"`{name}`" not in readme] == []


def test_the_token_rule_in_the_readme_is_a_manifest_that_works() -> None:
    snippet = (FOLDER / "README.md").read_text().split("```yaml\n")[1].split("```")[0]
    container = {"image": "a", **yaml.safe_load(snippet)}
    templates = [{"name": "main", "container": container}]
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "spec": {"entrypoint": "main", "templates": templates},
    }
    assert Renderer(frame(orjson.dumps(manifest).decode())).uses_secret
