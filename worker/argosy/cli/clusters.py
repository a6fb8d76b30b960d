"""`argosy cluster`: register the Kubernetes clusters that jobs run on. A token is given by file, pipe or environment, and is never
shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from argosy.cli import arguments, output
from argosy.cli.boundary import UsageError
from argosy.cli.findings import findings
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import age, ago, plain

if TYPE_CHECKING:
    from datetime import datetime

    from argosy.shapes.given import Policy
    from argosy.shapes.shown import ClusterShape

app = typer.Typer(help="Register the Kubernetes clusters that jobs run on.", no_args_is_help=True)

TOKEN_VARIABLE = "ARGOSY_CLUSTER_TOKEN"  # noqa: S105

_EXAMPLES = """Examples:

argosy cluster add north --host 10.0.0.5 --port 6443 --ca-file ca.pem --token-file token --default

kubectl create token argosy -n argosy --duration 8760h | argosy cluster add north --host k8s.example.org --ca-file ca.pem --token-file -

argosy cluster add here --in-cluster --default"""

Name = Annotated[str, typer.Argument(help="Name of the cluster.", metavar="NAME")]
Host = Annotated[str | None, typer.Option(help="Host name or address of its Kubernetes API.")]
CaFile = Annotated[Path | None, typer.Option(help="PEM file with the CA of its Kubernetes API.")]
TokenFile = Annotated[
    Path | None, typer.Option(help="File with a ServiceAccount token for it; - reads standard input.")
]
Organization = Annotated[int | None, typer.Option(help="Id of the organization that owns it.")]
ProjectMaxActive = Annotated[
    int | None,
    typer.Option(help="Most unfinished workflows of each project on it; see also: argosy project set.", min=0),
]
PendingDeadline = Annotated[
    float | None, typer.Option(help="Seconds after which a workflow without a running pod is ended, at most.")
]
RunDeadline = Annotated[
    float | None, typer.Option(help="Seconds that a workflow may take from its first pod on, at most.")
]
LabelOption = Annotated[
    list[str] | None, typer.Option("--label", help="NAME=VALUE by which algorithms choose it; repeatable.")
]
Account = Annotated[str | None, typer.Option(help="ServiceAccount that workflows run as.")]
InCluster = Annotated[
    bool, typer.Option("--in-cluster", help="The cluster that argosy itself runs in, by its own ServiceAccount.")
]
NoFinalizer = Annotated[
    bool, typer.Option("--no-finalizer", help="Don't hold finished workflows until their end is recorded.")
]
InClear = Annotated[
    bool, typer.Option("--token-in-clear", help="Let manifests use the launch's token other than as a secret.")
]
NoLogs = Annotated[bool, typer.Option("--no-logs", help="Don't ask it for logs of jobs' pods, and keep none.")]
ArgoServer = Annotated[
    str | None,
    typer.Option(
        help="https://… of its Argo Server, which gets the same token: for nodes that Argo keeps in its database, its archive, its lint.",
    ),
]
ArgoServerCa = Annotated[
    Path | None, typer.Option(help="PEM file with the CA of its Argo Server; default: those that the system trusts.")
]
Profile = Annotated[
    str | None, typer.Option(help="How far manifests are trusted: restricted (the default), baseline or trusted.")
]
PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        help="YAML file, the whole policy: a list that it leaves out is empty, its profile restricted; see clusters/README.md. "
        "Not together with --profile.",
    ),
]
NoPace = Annotated[bool, typer.Option("--no-pace", help="Submit up to --max-active at once, however slow its Argo is.")]
NoProjectMaxActive = Annotated[bool, typer.Option("--no-project-max-active", help="Remove that limit.")]


@app.command(epilog=_EXAMPLES)
def add(
    name: Name,
    host: Host = None,
    in_cluster: InCluster = False,
    port: Annotated[int, typer.Option(help="Port of its Kubernetes API.")] = 443,
    ca_file: CaFile = None,
    token_file: TokenFile = None,
    namespace: Annotated[str, typer.Option(help="Namespace in which workflows run.")] = "argosy",
    organization: Organization = None,
    service_account: Account = None,
    default: Annotated[bool, typer.Option("--default", help="Use it where an algorithm names no cluster.")] = False,
    no_finalizer: NoFinalizer = False,
    token_in_clear: InClear = False,
    no_logs: NoLogs = False,
    argo_server: ArgoServer = None,
    argo_server_ca: ArgoServerCa = None,
    profile: Profile = None,
    policy: PolicyFile = None,
    max_active: Annotated[int, typer.Option(help="Most unfinished workflows on it at a time.")] = 500,
    project_max_active: ProjectMaxActive = None,
    pending_deadline: PendingDeadline = None,
    run_deadline: RunDeadline = None,
    no_pace: NoPace = False,
    label: LabelOption = None,
) -> None:
    """Register a cluster; without --token-file its token is read from ARGOSY_CLUSTER_TOKEN."""
    if (host is None) != in_cluster:
        raise UsageError("say where the cluster is: either --host HOST or --in-cluster")
    if in_cluster and (ca_file or token_file):
        raise UsageError("--in-cluster takes the CA and the token from its pod; leave --ca-file and --token-file out")
    access = {} if in_cluster else _access(ca_file, token_file)
    if not in_cluster and "token" not in access:
        if not os.environ.get(TOKEN_VARIABLE, "").strip():
            raise UsageError(f"token: give --token-file FILE (- for standard input), or set {TOKEN_VARIABLE}")
        access["token"] = os.environ[TOKEN_VARIABLE].strip()
    with client() as opened:
        added = opened.add_cluster(
            name=name,
            host=host,
            port=port,
            namespace=namespace,
            organization=organization,
            service_account=service_account,
            default=default,
            finalizer=not no_finalizer,
            token_in_clear=token_in_clear,
            logs=not no_logs,
            argo_server=argo_server or "",
            argo_server_ca="" if argo_server_ca is None else arguments.contents(argo_server_ca, "--argo-server-ca"),
            policy=_policy(profile, policy, {}),
            max_active=max_active,
            project_max_active=project_max_active,
            pending_deadline=pending_deadline,
            run_deadline=run_deadline,
            pace=not no_pace,
            labels=arguments.labels(label or [], "--label"),
            **access,
        )
    output.note(f"cluster {added.name} is registered; check whether argosy can use it: argosy cluster check {name}")


@app.command()
def update(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="Rename it.")] = None,
    host: Host = None,
    port: Annotated[int | None, typer.Option(help="Port of its Kubernetes API.")] = None,
    ca_file: CaFile = None,
    token_file: TokenFile = None,
    namespace: Annotated[str | None, typer.Option(help="Namespace in which workflows run.")] = None,
    organization: Organization = None,
    service_account: Account = None,
    default: Annotated[bool | None, typer.Option(help="Use it where an algorithm names no cluster.")] = None,
    finalizer: Annotated[bool | None, typer.Option(help="Hold finished workflows until their end is recorded.")] = None,
    token_in_clear: Annotated[
        bool | None, typer.Option(help="Let manifests use the launch's token other than as a secret.")
    ] = None,
    logs: Annotated[
        bool | None, typer.Option(help="Ask it for logs of jobs' pods, and keep those that failed.")
    ] = None,
    argo_server: ArgoServer = None,
    argo_server_ca: ArgoServerCa = None,
    no_argo_server: Annotated[bool, typer.Option("--no-argo-server", help="Ask its Argo Server no longer.")] = False,
    profile: Profile = None,
    policy: PolicyFile = None,
    max_active: Annotated[int | None, typer.Option(help="Most unfinished workflows on it at a time.")] = None,
    project_max_active: ProjectMaxActive = None,
    no_project_max_active: NoProjectMaxActive = False,
    pending_deadline: PendingDeadline = None,
    run_deadline: RunDeadline = None,
    no_deadlines: Annotated[bool, typer.Option("--no-deadlines", help="Remove both deadlines.")] = False,
    pace: Annotated[bool | None, typer.Option(help="Submit only as much as its Argo keeps up with.")] = None,
    label: LabelOption = None,
) -> None:
    """Change what is given and leave the rest; --label replaces all labels. A new --host or --argo-server needs the token again, and with a
    new --host the Argo Server must be named again."""
    arguments.one_of(argo_server=argo_server, no_argo_server=no_argo_server)
    given: dict[str, Any] = {
        "name": new_name,
        "host": host,
        "port": port,
        "namespace": namespace,
        "organization": organization,
        "service_account": service_account,
        "default": default,
        "finalizer": finalizer,
        "token_in_clear": token_in_clear,
        "logs": logs,
        "argo_server": argo_server,
        "argo_server_ca": argo_server_ca and arguments.contents(argo_server_ca, "--argo-server-ca"),
        "max_active": max_active,
        "project_max_active": project_max_active,
        "pending_deadline": pending_deadline,
        "run_deadline": run_deadline,
        "pace": pace,
        "labels": arguments.labels(label, "--label") if label else None,
    }
    fields = {field: value for field, value in given.items() if value is not None} | _access(ca_file, token_file)
    if no_project_max_active:
        fields["project_max_active"] = None
    if no_argo_server:
        fields |= {"argo_server": "", "argo_server_ca": ""}
    if no_deadlines:
        fields |= {"pending_deadline": None, "run_deadline": None}
    if not fields and profile is None and policy is None:
        raise UsageError("nothing to change; see: argosy cluster update --help")
    with client() as opened:
        if profile is not None or policy is not None:
            fields["policy"] = _policy(profile, policy, opened.cluster(name).policy.model_dump())
        changed = opened.update_cluster(name, **fields)
    for warning in changed.warnings:
        output.note(f"warning: no longer fits: {plain(warning)}")
    output.note(f"cluster {changed.name} is changed" + (f": {_lists(changed.policy)}" if "policy" in fields else ""))


def _lists(policy: Policy) -> str:
    """A policy on one line: its profile, and which lists have something."""
    lists = {field: value for field, value in policy.model_dump().items() if field != "profile" and value}
    return f"profile {policy.profile}" + "".join(f", {field} {len(value)}" for field, value in lists.items())


@app.command("list")
def list_(organization: Organization = None, output_format: Output = Format.TABLE) -> None:
    """List the registered clusters and their state."""
    with client() as opened:
        found = opened.clusters(organization=organization)
    output.show(found, output_format, columns=_COLUMNS, name=lambda cluster: cluster.name)


@app.command()
def get(name: Name, output_format: Output = Format.TABLE) -> None:
    """Show one cluster."""
    with client() as opened:
        found = opened.cluster(name)
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
    else:
        output.show([found], output_format, columns=_COLUMNS, name=lambda cluster: cluster.name)


@app.command()
def check(name: Name, output_format: Output = Format.TABLE) -> None:
    """Ask a cluster whether argosy can work there; if not, say what is missing and exit 1."""
    from dataclasses import asdict

    with client() as opened:
        report, wanted = opened.check_cluster(name), opened.cluster(name).logs
    if output.structured(output_format):
        output.data(asdict(report) | {"health": str(report.health)}, output_format)
    elif output_format is Format.NAME:
        output.lines([name])
    else:
        output.facts({"cluster": name} | findings(report, wanted))
    if report.health != "ok":
        raise typer.Exit(1)


@app.command()
def pause(name: Name, reason: Annotated[str, typer.Option(help="Shown with the jobs that wait.")] = "") -> None:
    """Submit nothing new to a cluster, e.g. to drain it for maintenance; jobs that run there continue."""
    with client() as opened:
        opened.pause(cluster=name, reason=reason)
        active = opened.cluster(name).active
    output.note(
        f"cluster {name} is paused; unfinished workflows there: {active}, see: argosy cluster get {name}; "
        f"to end the pause: argosy cluster resume {name}"
    )


@app.command()
def resume(name: Name) -> None:
    """Submit to a paused cluster again."""
    with client() as opened:
        opened.resume(cluster=name)
    output.note(f"cluster {name} is no longer paused")


@app.command()
def release(name: Name) -> None:
    """Remove argosy's finalizer from all its workflows on a cluster; how they ended may be lost if it is not recorded yet."""
    with client() as opened:
        count = opened.release_cluster(name)
    output.note(f"cluster {name}: {count} workflow{'s' * (count != 1)} released")


@app.command()
def remove(
    name: Name,
    abandon: Annotated[
        bool,
        typer.Option(
            "--abandon",
            help="The cluster is gone for good: don't ask it, leave what is there, and end jobs that run there or can run nowhere else.",
        ),
    ] = False,
    waiting: Annotated[
        Literal["run", "lost"] | None,
        typer.Option(
            help="With --abandon of a held cluster: queued jobs that may have run there and that another cluster may take."
        ),
    ] = None,
) -> None:
    """Release a cluster, remove it and forget its token; refused while jobs on it have not ended, unless it is abandoned."""
    with client() as opened:
        was_default = opened.cluster(name).default
        ended = opened.remove_cluster(name, abandon=abandon, waiting=waiting)
    jobs = f"; {ended} job{'s' * (ended != 1)} that had not ended {'are' if ended != 1 else 'is'} Lost or Cancelled"
    output.note(f"cluster {name} is removed" + jobs * bool(ended))
    if was_default:
        output.note("it was the default: algorithms that name none need another; argosy cluster update NAME --default")


def _access(ca_file: Path | None, token_file: Path | None) -> dict[str, Any]:
    arguments.one_input(("--ca-file", ca_file), ("--token-file", token_file))
    found = {}
    if ca_file is not None:
        found["cert"] = arguments.contents(ca_file, "--ca-file")
    if token_file is not None:
        found["token"] = arguments.secret(token_file, "--token-file")
    return found


def _policy(profile: str | None, file: Path | None, now: dict[str, Any]) -> Policy:
    """What manifests may do: from a file, or the present policy with another profile."""
    from argosy.inputs import validated
    from argosy.shapes.given import Policy

    arguments.one_of(profile=profile, policy=file)
    given = arguments.mapping(file, "--policy") if file else now | ({"profile": profile} if profile else {})
    return validated(Policy, given)


def _address(cluster: ClusterShape) -> str:
    return f"{cluster.host}:{cluster.port}" if cluster.host is not None else "in-cluster"


def _message(cluster: ClusterShape, now: datetime) -> str:
    if cluster.held_at is not None:
        return cluster.held_reason
    if cluster.health_message:
        return cluster.health_message
    if cluster.paused_at is not None:
        return cluster.paused_reason
    return cluster.open_reason if cluster.open_until is not None and cluster.open_until > now else ""


_COLUMNS: list[Column[ClusterShape]] = [
    Column("NAME", lambda cluster, _: cluster.name),
    Column("ADDRESS", lambda cluster, _: _address(cluster)),
    Column("NAMESPACE", lambda cluster, _: cluster.namespace),
    Column("DEFAULT", lambda cluster, _: "yes" if cluster.default else ""),
    Column(
        "HEALTH",
        lambda cluster, _: cluster.health + (", held" if cluster.held_at else ", paused" if cluster.paused_at else ""),
    ),
    Column("SINCE", lambda cluster, now: ago(cluster.health_since, now)),
    Column("ACTIVE", lambda cluster, _: str(cluster.active)),
    Column("ID", lambda cluster, _: str(cluster.id), wide=True),
    Column("ORGANIZATION", lambda cluster, _: str(cluster.organization or ""), wide=True),
    Column("MAX-ACTIVE", lambda cluster, _: str(cluster.max_active), wide=True),
    Column("WINDOW", lambda cluster, _: str(cluster.window or "") if cluster.pace else "off", wide=True),
    Column("PROFILE", lambda cluster, _: cluster.policy.profile, wide=True),
    Column("LABELS", lambda cluster, _: ",".join(f"{k}={v}" for k, v in cluster.labels.items()), wide=True),
    Column("KUBERNETES", lambda cluster, _: cluster.kubernetes_version, wide=True),
    Column("ARGO", lambda cluster, _: cluster.argo_version, wide=True),
    Column("ARGO-SERVER", lambda cluster, _: cluster.argo_server, wide=True),
    Column("AS-OF", lambda cluster, now: age(cluster.as_of, now), wide=True),
    Column("MESSAGE", lambda cluster, now: plain(_message(cluster, now))),
]
