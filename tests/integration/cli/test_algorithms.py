"""`argosy algorithm`, `argosy lint`."""

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from argosy.client import Client
from argosy.errors import InvalidRequest
from argosy.shapes.given import Parameter, Policy
from argosy.shapes.shown import AlgorithmShape, ClusterShape
from tests.support.certificates import PEM
from tests.support.cli import HELLO, SECRET, Run, error


def test_an_algorithm_is_registered_changed_and_removed(argosy: Run, client: Client, cluster: ClusterShape) -> None:
    args = (
        f"algorithm register {HELLO} --name hi --project 1 --user 7 --files-per-job 3 --cluster north --description says "
        "--category a --category b --param x=1=2 --param y="
    )
    assert argosy(*args.split()).exit_code == 0
    made = client.algorithm("hi")
    assert (made.cluster, made.description, made.categories) == (cluster.id, "says", ["a", "b"])
    assert [(parameter.name, parameter.value) for parameter in made.parameters] == [("x", "1=2"), ("y", "")]
    assert "not unique" in error(argosy(*args.split()), 1)
    assert argosy(*["algorithm", "update", "hi", "--files-per-job", "9", "--default-cluster"]).exit_code == 0
    assert client.algorithm("hi") == made.model_copy(update={"files_per_job": 9, "cluster": None})
    assert "--yes" in error(argosy("algorithm", "remove", "hi"), 2)
    assert argosy("algorithm", "remove", "hi", "--yes").exit_code == 0
    assert argosy("algorithm", "list", "-o", "name").stdout == ""


def test_a_manifest_with_an_error_is_refused_with_its_place(argosy: Run, client: Client) -> None:
    args = "algorithm register - --name hi --project 1 --user 7 --files-per-job 3"
    refused = argosy(*args.split(), input="apiVersion: argoproj.io/v1alpha1\nkind: [\n")
    line, last = refused.stderr.splitlines()
    assert re.match(r"<stdin>:\d+:\d+: ", line)
    assert (refused.exit_code, last) == (1, "nothing was changed, because of 1 problem in the manifest")
    assert client.algorithms() == []


def test_all_that_is_wrong_with_a_manifest_is_told_as_lint_tells_it(
    argosy: Run, client: Client, cluster: ClusterShape, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        Path(HELLO).read_text().replace("      container:", "      hostile: 1\n      other: 2\n      container:")
    )
    linted = argosy("algorithm", "lint", str(bad)).stdout.splitlines()
    assert len(linted) >= 2
    args = f"algorithm register {bad} --name hello --project 1 --user 7 --files-per-job 3"
    assert argosy(*args.split()).stderr.splitlines()[:-1] == linted
    assert argosy(*args.replace(str(bad), HELLO).split()).exit_code == 0
    updated = argosy("algorithm", "update", "hello", "--file", str(bad))
    assert (updated.exit_code, updated.stderr.splitlines()[:-1]) == (1, linted)


def test_lint_prints_a_line_for_each_finding(argosy: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(Path(HELLO).read_text().replace("      container:", "      hostile: 1\n      container:"))
    bare = {"ARGOSY_DATABASE_URL": "nothing"}  # no database is asked
    result = argosy("algorithm", "lint", str(bad), env=bare)
    assert result.exit_code == 1
    found = result.stdout.splitlines()
    assert found
    for line in found:
        assert re.match(re.escape(str(bad)) + r":\d+:\d+: .+", line)
    place = 1 + Path(bad).read_text().splitlines().index("      hostile: 1")
    assert f"{bad}:{place}:7: " in found[0]
    assert result.stderr == ""
    piped = argosy("algorithm", "lint", "-", input=bad.read_text(), env=bare)
    assert piped.stdout == result.stdout.replace(str(bad), "<stdin>")


def test_apply_beside_somebody_who_applies_the_same_file_changes_what_they_registered(
    argosy: Run, client: Client, cluster: ClusterShape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "two.yaml"
    spec = {"name": "two", "project": 1, "user": 7, "files_per_job": 2, "manifest": Path(HELLO).read_text()}
    file.write_text(orjson.dumps(spec).decode())
    register = Client.register_algorithm

    def second(self: Client, **fields: Any) -> AlgorithmShape:
        register(self, **fields | {"files_per_job": 9})  # somebody else, since it was looked for
        return register(self, **fields)

    monkeypatch.setattr(Client, "register_algorithm", second)
    assert argosy("apply", str(file)).stderr == "algorithm two is changed\n"
    assert client.algorithm("two").files_per_job == 2


def test_lint_judges_a_launch_with_parameters_too(argosy: Run, algorithm: AlgorithmShape) -> None:
    for which in ((HELLO,), ("--name", "hello"), (HELLO, "--cluster", "north")):
        judged = argosy("algorithm", "lint", *which, "--param", "gid=1", "--param", "x=1")
        assert judged.exit_code == 1, judged.output
        refused, unused = judged.stdout.splitlines()
        assert refused.endswith(':1:1: launch parameter "gid": the name is reserved; argosy sets it')
        assert unused.endswith('warning: launch parameter "x": the manifest neither declares nor reads it')


def test_an_own_parameter_outside_its_enum_is_refused_when_it_is_registered(client: Client) -> None:
    choosy = (
        Path(HELLO)
        .read_text()
        .replace(
            "spec:\n",
            "spec:\n  arguments:\n    parameters:\n      - {name: mode, value: fast, enum: [fast, slow]}\n",
            1,
        )
    )
    fields: Any = {"name": "c", "project": 1, "user": 7, "manifest": choosy, "files_per_job": 1}
    with pytest.raises(InvalidRequest, match='parameter "mode": middling is not one of fast, slow'):
        client.register_algorithm(**fields, parameters=[Parameter(name="mode", value="middling")])


def test_lint_says_by_which_policy_a_manifest_is_good(argosy: Run, cluster: ClusterShape) -> None:
    for more, judge in (([], "profile restricted"), (["--cluster", "north"], "cluster north")):
        result = argosy("algorithm", "lint", HELLO, *more)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr == f"{HELLO}: nothing found, by the policy of {judge}\n"


def test_lint_takes_several_files(argosy: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: 1\n")
    result = argosy("algorithm", "lint", HELLO, str(bad))
    assert (result.exit_code, result.stdout.partition(":")[0]) == (1, str(bad))
    error(argosy("algorithm", "lint"), 2)


def test_what_is_registered_is_judged_by_the_clusters_that_may_take_it(
    argosy: Run, algorithm: AlgorithmShape, client: Client, tmp_path: Path
) -> None:
    result = argosy("algorithm", "lint", "--name", algorithm.name)
    assert (result.exit_code, result.stderr) == (0, f"{algorithm.name}: nothing found, by the policy of its clusters\n")
    policy = tmp_path / "policy.yaml"
    policy.write_text("registries: [nvcr.io]\n")
    changed = argosy("cluster", "update", "north", "--policy", str(policy)).stderr
    assert f"warning: no longer fits: algorithm {algorithm.name}: " in changed
    assert changed.endswith("cluster north is changed: profile restricted, registries 1\n")
    result = argosy("algorithm", "lint", "--name", algorithm.name)
    assert result.exit_code == 1
    assert "is not in registries, in the policy of cluster north" in result.stdout
    shown = argosy("algorithm", "get", algorithm.name, "-o", "yaml").stdout
    assert "manifest: |" in shown


def test_an_algorithm_names_a_cluster_several_or_labels_and_each_takes_the_others_place(
    argosy: Run, algorithm: AlgorithmShape, client: Client
) -> None:
    client.add_cluster(name="south", host="127.0.0.1", port=2, cert=PEM, token=SECRET, labels={"gpu": "a100"})

    def chosen() -> tuple[int | None, list[int], dict[str, str]]:
        found = client.algorithm("hello")
        return found.cluster, found.clusters, found.cluster_labels

    assert argosy("algorithm", "update", "hello", "--cluster", "north", "--cluster", "south").exit_code == 0
    assert chosen() == (None, [client.cluster("north").id, client.cluster("south").id], {})
    assert "north,south" in argosy("algorithm", "list").stdout
    assert argosy("algorithm", "update", "hello", "--cluster-label", "gpu=a100").exit_code == 0
    assert chosen() == (None, [], {"gpu": "a100"})
    assert argosy("algorithm", "update", "hello", "--default-cluster").exit_code == 0
    assert chosen() == (None, [], {})
    assert argosy("algorithm", "update", "hello", "--cluster", "north", "--cluster-label", "a=b").exit_code == 2


UNMOUNTED = (
    Path(HELLO)
    .read_text()
    .replace("spec:\n", "spec:\n  volumes: [{name: docker, hostPath: {path: /var/run/docker.sock}}]\n", 1)
)
PRIVILEGED = Path(HELLO).read_text().replace("image:", "securityContext: {privileged: true}\n        image:", 1)


def test_what_a_clusters_policy_refuses_is_refused_at_registration_and_by_lint(
    argosy: Run, client: Client, cluster: ClusterShape, tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(PRIVILEGED)
    register = (
        "algorithm",
        "register",
        str(file),
        "--name",
        "p",
        "--project",
        "1",
        "--user",
        "7",
        "--files-per-job",
        "1",
    )
    refused = argosy(*register, "--cluster", "north")
    assert refused.exit_code == 1
    said = refused.stderr
    assert "securityContext.privileged" in said
    assert "restricted of cluster north" in said
    assert argosy("algorithm", "lint", str(file), "--cluster", "north").exit_code == 1
    assert argosy("algorithm", "lint", str(file), "--profile", "trusted").exit_code == 0
    (found,) = orjson.loads(argosy("algorithm", "lint", str(file), "-o", "json").stdout)
    assert (found["warning"], found["line"]) == (False, PRIVILEGED[: PRIVILEGED.index("privileged")].count("\n") + 1)
    client.update_cluster("north", policy=Policy(profile="trusted"))
    assert argosy(*register, "--cluster", "north").exit_code == 0


def test_a_warning_is_told_and_hinders_nothing(
    argosy: Run, client: Client, cluster: ClusterShape, tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(UNMOUNTED)
    linted = argosy("algorithm", "lint", str(file))
    assert (linted.exit_code, "warning: spec.volumes[0]" in linted.stdout) == (0, True)
    register = (
        "algorithm",
        "register",
        str(file),
        "--name",
        "u",
        "--project",
        "1",
        "--user",
        "7",
        "--files-per-job",
        "1",
    )
    made = argosy(*register, "--cluster", "north")
    assert (made.exit_code, "no container mounts it" in made.stderr) == (0, True)
