"""`argosy algorithm`: register what can be launched, and find the mistakes of a manifest before it is launched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from argosy.cli import arguments, completion, output
from argosy.cli.arguments import Yes
from argosy.cli.boundary import UsageError
from argosy.cli.commands import App
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import SHORT, cut, plain

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.errors import ManifestError
    from argosy.shapes.shown import AlgorithmShape

app = App(help="Register the algorithms that can be launched, and check their manifests.")

_EXAMPLES = """Examples:

argosy algorithm lint hello.yaml

argosy algorithm register hello.yaml --name hello --project 1 --user 7 --files-per-job 50 --param threshold=0.5"""

Name = Annotated[
    str, typer.Argument(help="Name of the algorithm.", metavar="NAME", autocompletion=completion.algorithms)
]
Manifest = Annotated[
    Path, typer.Argument(help="Argo Workflow manifest in YAML; - reads standard input.", metavar="FILE")
]
Description = Annotated[str | None, typer.Option(help="What it does; only shown to people.")]
ClusterNames = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster",
        help="Cluster to run on; repeatable: whichever has most free. Default: the default one.",
        metavar="NAME",
        autocompletion=completion.clusters,
    ),
]
ClusterLabels = Annotated[
    list[str] | None,
    typer.Option("--cluster-label", help="NAME=VALUE of the clusters to run on instead; repeatable: all of them."),
]
PendingDeadline = Annotated[
    float | None, typer.Option(help="Seconds after which a job without a running pod is ended; 0 for none.", min=0)
]
RunDeadline = Annotated[
    float | None, typer.Option(help="Seconds that a job may run from its first pod on; 0 for none.", min=0)
]
Categories = Annotated[list[str] | None, typer.Option("--category", help="Category to list it under; repeatable.")]
Parameters = Annotated[list[str] | None, typer.Option("--param", help="NAME=VALUE that workflows receive; repeatable.")]

MaxAttempts = Annotated[
    int | None,
    typer.Option(help="Attempts a job gets by itself where it ends Error or Lost; default: 1, no retry.", min=1),
]
RetryBackoff = Annotated[
    float | None, typer.Option(help="Seconds before the second attempt, twice as long before each later one.", min=0)
]


@app.command(epilog=_EXAMPLES)
def register(
    file: Manifest,
    name: Annotated[str, typer.Option(help="Name to launch it by; unique.")],
    project: Annotated[int, typer.Option(help="Id of the project it belongs to.")],
    user: Annotated[int, typer.Option(help="Id of the user who registers it.")],
    files_per_job: Annotated[int, typer.Option(help="Media that one job takes.")],
    description: Description = None,
    cluster: ClusterNames = None,
    cluster_label: ClusterLabels = None,
    category: Categories = None,
    param: Parameters = None,
    max_attempts: MaxAttempts = None,
    retry_backoff: RetryBackoff = None,
    pending_deadline: PendingDeadline = None,
    run_deadline: RunDeadline = None,
) -> None:
    """Register an algorithm, so that it can be launched by name."""
    fields: dict[str, Any] = {
        "name": name,
        "project": project,
        "user": user,
        "files_per_job": files_per_job,
        "manifest": arguments.contents(file, "FILE"),
        "description": description or "",
        "categories": category or [],
        "parameters": arguments.parameters(param or []),
    }
    fields |= _retries(max_attempts, retry_backoff) | _deadlines(pending_deadline, run_deadline)
    arguments.one_of(cluster=cluster or None, cluster_label=cluster_label or None)
    with client() as opened:
        with findings_of(str(file)):
            made = opened.register_algorithm(**fields, **_placement(opened, cluster, cluster_label))
        warn(opened, made)
    output.note(
        f"algorithm {made.name} is registered; run it: "
        f"argosy launch {made.name} --project {made.project} --user {made.user} --media 1,2,5-9"
    )


@app.command()
def update(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="Rename it.")] = None,
    file: Annotated[Path | None, typer.Option(help="New manifest; - reads standard input.")] = None,
    project: Annotated[int | None, typer.Option(help="Id of the project it belongs to.")] = None,
    user: Annotated[int | None, typer.Option(help="Id of the user it belongs to.")] = None,
    files_per_job: Annotated[int | None, typer.Option(help="Media that one job takes.")] = None,
    description: Description = None,
    cluster: ClusterNames = None,
    cluster_label: ClusterLabels = None,
    default_cluster: Annotated[
        bool, typer.Option("--default-cluster", help="Run on whichever cluster is the default.")
    ] = False,
    category: Categories = None,
    param: Parameters = None,
    max_attempts: MaxAttempts = None,
    retry_backoff: RetryBackoff = None,
    pending_deadline: PendingDeadline = None,
    run_deadline: RunDeadline = None,
) -> None:
    """Change what is given and leave the rest; launches that exist keep what they were launched with."""
    arguments.one_of(cluster=cluster or None, cluster_label=cluster_label or None, default_cluster=default_cluster)
    given = {
        "name": new_name,
        "manifest": None if file is None else arguments.contents(file, "--file"),
        "project": project,
        "user": user,
        "files_per_job": files_per_job,
        "description": description,
        "categories": category or None,
        "parameters": arguments.parameters(param) if param else None,
    }
    fields: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    fields |= _retries(max_attempts, retry_backoff) | _deadlines(pending_deadline, run_deadline)
    if not fields and not cluster and not cluster_label and not default_cluster:
        raise UsageError("nothing to change; see: argosy algorithm update --help")
    with client() as opened:
        if cluster or cluster_label or default_cluster:
            fields |= _placement(opened, cluster, cluster_label)
        with findings_of(str(file or name)):
            changed = opened.update_algorithm(name, **fields)
        warn(opened, changed)
    output.note(f"algorithm {changed.name} is changed")


@app.command("list")
def list_(
    project: Annotated[int | None, typer.Option(help="Only this project's.")] = None,
    output_format: Output = Format.TABLE,
) -> None:
    """List the registered algorithms."""
    with client() as opened:
        found = opened.algorithms(project=project)
        columns = _columns(opened)
    output.show(found, output_format, columns=columns, name=lambda algorithm: algorithm.name)


@app.command()
def get(name: Name, output_format: Output = Format.TABLE) -> None:
    """Show one algorithm; -o yaml has its manifest too."""
    with client() as opened:
        found = opened.algorithm(name)
        columns = _columns(opened)
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
    else:
        output.show([found], output_format, columns=columns, name=lambda algorithm: algorithm.name)


@app.command()
def pause(name: Name, reason: Annotated[str, typer.Option(help="Shown with the jobs that wait.")] = "") -> None:
    """Submit no new jobs of an algorithm; jobs that run continue."""
    with client() as opened:
        opened.pause(algorithm=name, reason=reason)
    output.note(f"algorithm {name} is paused; to end the pause: argosy algorithm resume {name}")


@app.command()
def resume(name: Name) -> None:
    """Submit jobs of a paused algorithm again."""
    with client() as opened:
        opened.resume(algorithm=name)
    output.note(f"algorithm {name} is no longer paused")


@app.command()
def remove(name: Name, yes: Yes = False) -> None:
    """Remove an algorithm; its launches continue."""
    arguments.confirmed(f"Remove algorithm {name}, with its manifest?", yes)
    with client() as opened:
        opened.remove_algorithm(name)
    output.note(f"algorithm {name} is removed")


@app.command()
def lint(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Manifests; - reads standard input.", metavar="FILE...")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Judge this registered algorithm in place of files.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Judge it by this cluster's policy, and by its Argo Server's lint.", metavar="NAME"),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Judge files by a profile: restricted (the default), baseline, trusted.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(help="Judge a launch with this parameter, too; repeatable.", metavar="NAME=VALUE"),
    ] = None,
    output_format: Output = Format.TABLE,
) -> None:
    """Print everything that is wrong with manifests as FILE:LINE:COL: problem; exit 1 if there is more than warnings.

    A registered algorithm is judged by the policies of the clusters that may take its jobs. Clusters that name an Argo Server have it lint
    the workflow, too.
    """
    if bool(files) == (name is not None):
        raise UsageError("give FILE... or --name")
    arguments.one_of(cluster=cluster, profile=profile)
    arguments.one_of(name=name, profile=profile)
    given = arguments.parameters(param or [])
    found = (
        {name: _registered(name, cluster, given)}
        if name is not None
        else _of_files(files or [], cluster, profile, given)
    )
    if output.structured(output_format):
        told = [_told(where, each) for where, findings in found.items() for each in findings]
        output.data(told, output_format)
    else:
        output.lines([_line(where, each) for where, findings in found.items() for each in findings])
    judge = (
        f"cluster {cluster}" if cluster else f"profile {profile or 'restricted'}" if name is None else "its clusters"
    )
    for where, findings in found.items():
        if not findings:
            output.note(f"{where}: nothing found, by the policy of {judge}")
    if any(not each.warning for findings in found.values() for each in findings):
        raise typer.Exit(1)


@contextmanager
def findings_of(where: str) -> Iterator[None]:
    """Where a manifest is refused: all that is wrong with it is printed as `lint` prints it."""
    from argosy.errors import ManifestError

    try:
        yield
    except ManifestError as error:
        found = (error, *error.others)
        output.note_lines([_line("<stdin>" if where == "-" else where, each) for each in found])
        output.note(f"nothing was changed, because of {len(found)} problem{'s' * (len(found) != 1)} in the manifest")
        raise typer.Exit(1) from None


def warn(opened: Client, algorithm: AlgorithmShape) -> None:
    """Say what its author should know of an algorithm that is registered; its clusters' Argo Servers are asked."""
    said = [plain(each.problem) for each in opened.lint_algorithm_by_argo(algorithm.id)]
    for warning in (*algorithm.warnings, *said):
        output.note(f"warning: {warning}")


def _registered(name: str, cluster: str | None, given: Sequence[Any]) -> Sequence[ManifestError]:
    with client() as opened:
        return opened.lint_algorithm(name, cluster=cluster, extra_params=given)


def _of_files(
    files: Sequence[Path], cluster: str | None, profile: str | None, given: Sequence[Any]
) -> dict[str, Sequence[ManifestError]]:
    texts = {
        "<stdin>" if file == arguments.STANDARD_INPUT else str(file): arguments.contents(file, "FILE") for file in files
    }
    if cluster is not None:
        with client() as opened:
            return {where: opened.lint(text, cluster=cluster, extra_params=given) for where, text in texts.items()}
    from argosy import manifest
    from argosy.inputs import validated
    from argosy.shapes.given import Parameters, Policy

    policies = {"": validated(Policy, {"profile": profile} if profile else {})}
    extra = validated(Parameters, {"extra_params": given}).extra_params
    return {
        where: [
            *manifest.lint(text, policies=policies),
            *(manifest.lint_launch(text, [], extra, policies) if extra else ()),
        ]
        for where, text in texts.items()
    }


def _told(where: str, found: ManifestError) -> dict[str, Any]:
    place = {"file": where, "line": found.line, "column": found.column}
    return place | {"problem": plain(found.problem), "warning": found.warning}


def _line(where: str, found: ManifestError) -> str:
    words = ("warning: " if found.warning else "") + plain(found.problem)
    return f"{where}:{found.line or 1}:{found.column or 1}: {words}"


def _retries(max_attempts: int | None, retry_backoff: float | None) -> dict[str, Any]:
    given = {"max_attempts": max_attempts, "retry_backoff": retry_backoff}
    return {name: value for name, value in given.items() if value is not None}


def _deadlines(pending: float | None, run: float | None) -> dict[str, Any]:
    given = {"pending_deadline": pending, "run_deadline": run}
    return {name: value or None for name, value in given.items() if value is not None}


def _placement(opened: Client, names: list[str] | None, labels: list[str] | None) -> dict[str, Any]:
    """Where to run, as arguments of the client."""
    if labels:
        return {"cluster_labels": arguments.labels(labels, "--cluster-label")}
    ids = [opened.cluster(name).id for name in names or []]
    return {"clusters": ids} if len(ids) > 1 else {"cluster": ids[0] if ids else None}


def _columns(opened: Client) -> list[Column[AlgorithmShape]]:
    from argosy.store.manifests import digest_of

    names = {cluster.id: cluster.name for cluster in opened.clusters()}
    return [
        Column("NAME", lambda algorithm, _: algorithm.name),
        Column("PROJECT", lambda algorithm, _: str(algorithm.project)),
        Column("FILES-PER-JOB", lambda algorithm, _: str(algorithm.files_per_job)),
        Column("CLUSTER", lambda algorithm, _: _clusters(names, algorithm)),
        Column("PAUSED", lambda algorithm, _: plain(algorithm.paused_reason or "yes") if algorithm.paused_at else ""),
        Column("ID", lambda algorithm, _: str(algorithm.id), wide=True),
        Column("USER", lambda algorithm, _: str(algorithm.user), wide=True),
        Column("CATEGORIES", lambda algorithm, _: ",".join(algorithm.categories), wide=True),
        Column("MANIFEST", lambda algorithm, _: digest_of(algorithm.manifest)[:SHORT], wide=True),
        Column("PARAMETERS", lambda algorithm, _: _parameters(algorithm), wide=True),
        Column("DESCRIPTION", lambda algorithm, _: cut(plain(algorithm.description), 80)),
    ]


def _clusters(names: dict[int, str], algorithm: AlgorithmShape) -> str:
    if algorithm.cluster_labels:
        return ",".join(f"{name}={value}" for name, value in algorithm.cluster_labels.items())
    ids = algorithm.clusters or ([] if algorithm.cluster is None else [algorithm.cluster])
    return ",".join(names.get(cluster, str(cluster)) for cluster in ids) or "(default)"


def _parameters(algorithm: AlgorithmShape) -> str:
    return ",".join(f"{parameter.name}={parameter.value}" for parameter in algorithm.parameters)
