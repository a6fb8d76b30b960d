"""`argosy cluster add`, `update` and `manifest`: what a cluster grants, and how argosy reaches it. A token is given by file, pipe or
environment, and is never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from argosy.cli import arguments, output
from argosy.cli.boundary import UsageError
from argosy.cli.cluster_options import (
    Account,
    ArgoServer,
    ArgoServerCa,
    CaFile,
    Context,
    FromKubeconfig,
    Host,
    InClear,
    InCluster,
    LabelOption,
    Name,
    NoFinalizer,
    NoLogs,
    NoPace,
    NoProjectMaxActive,
    Organization,
    PathOption,
    PendingDeadline,
    PolicyFile,
    Profile,
    ProjectMaxActive,
    RunDeadline,
    TokenCommand,
    TokenFile,
    TokenFrom,
)
from argosy.cli.session import client
from argosy.cli.text import plain

if TYPE_CHECKING:
    from argosy.shapes.given import Policy

TOKEN_VARIABLE = "ARGOSY_CLUSTER_TOKEN"  # noqa: S105

EXAMPLES = """Examples:

argosy cluster manifest --namespace argosy | kubectl apply -f -

kubectl create token argosy -n argosy --duration 8760h | argosy cluster add north --from-kubeconfig ~/.kube/config --token-file -

argosy cluster add north --host 10.0.0.5 --port 6443 --ca-file ca.pem --token-file token --default

argosy cluster add eks --from-kubeconfig ~/.kube/config --context eks     (credentials by exec: see clusters/README.md)

argosy cluster add here --in-cluster --default"""


def add(
    name: Name,
    host: Host = None,
    in_cluster: InCluster = False,
    from_kubeconfig: FromKubeconfig = None,
    context: Context = None,
    port: Annotated[int | None, typer.Option(help="Port of its Kubernetes API; 443 if nothing else is said.")] = None,
    path: PathOption = None,
    ca_file: CaFile = None,
    token_file: TokenFile = None,
    token_from: TokenFrom = None,
    token_command: TokenCommand = None,
    namespace: Annotated[str | None, typer.Option(help="Namespace in which workflows run; default: argosy.")] = None,
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
    """Register a cluster; without another source its token is read from ARGOSY_CLUSTER_TOKEN."""
    options = dict(locals())
    given = _plain(options) | {"finalizer": not no_finalizer, "logs": not no_logs, "pace": not no_pace}
    given |= _reached(options, new=True) | {"policy": _policy(profile, policy, {})}
    with client() as opened:
        added = opened.add_cluster(**given)
    _tell_limit(added.name, given.get("max_active"))
    output.note(f"cluster {added.name} is registered; check whether argosy can use it: argosy cluster check {name}")


def update(
    name: Name,
    new_name: Annotated[str | None, typer.Option("--name", help="Rename it.")] = None,
    host: Host = None,
    from_kubeconfig: FromKubeconfig = None,
    context: Context = None,
    port: Annotated[int | None, typer.Option(help="Port of its Kubernetes API.")] = None,
    path: PathOption = None,
    ca_file: CaFile = None,
    token_file: TokenFile = None,
    token_from: TokenFrom = None,
    token_command: TokenCommand = None,
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
    options = dict(locals()) | {"name": new_name}
    fields = _plain(options) | _removed(no_project_max_active, no_argo_server, no_deadlines)
    _update(name, fields | _reached(options, new=False), profile, policy)


def _update(name: str, fields: dict[str, Any], profile: str | None, policy: Path | None) -> None:
    if not fields and profile is None and policy is None:
        raise UsageError("nothing to change; see: argosy cluster update --help")
    with client() as opened:
        if profile is not None or policy is not None:
            fields["policy"] = _policy(profile, policy, opened.cluster(name).policy.model_dump())
        changed = opened.update_cluster(name, **fields)
    _tell_limit(changed.name, fields.get("max_active"))
    for warning in changed.warnings:
        output.note(f"warning: no longer fits: {plain(warning)}")
    output.note(f"cluster {changed.name} is changed" + (f": {_lists(changed.policy)}" if "policy" in fields else ""))


def _tell_limit(name: str, most: int | None) -> None:
    if most == 0:
        output.note(
            f"warning: --max-active 0 is a pause: nothing is submitted to {name} until it is raised; "
            f"argosy cluster pause {name} --reason WHY says with the jobs why they wait"
        )


_SAME = {
    *("name", "host", "port", "path", "namespace", "organization", "service_account", "default", "finalizer"),
    *("token_in_clear", "logs", "argo_server", "max_active", "project_max_active", "pending_deadline"),
    *("run_deadline", "pace"),
}
"""Options that are fields of a cluster under the same name and with the same value."""


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """The fields that are given, of a command's options."""
    arguments.one_of(argo_server=options["argo_server"], no_argo_server=options.get("no_argo_server"))
    fields = {option: options[option] for option in _SAME & options.keys() if options[option] is not None}
    if options["argo_server_ca"] is not None:
        fields["argo_server_ca"] = arguments.certificates(options["argo_server_ca"], "--argo-server-ca")
    if options["label"]:
        fields["labels"] = arguments.labels(options["label"], "--label")
    return fields


def _removed(no_project_max_active: bool, no_argo_server: bool, no_deadlines: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if no_project_max_active:
        fields["project_max_active"] = None
    if no_argo_server:
        fields |= {"argo_server": "", "argo_server_ca": ""}
    if no_deadlines:
        fields |= {"pending_deadline": None, "run_deadline": None}
    return fields


def _reached(options: dict[str, Any], new: bool) -> dict[str, Any]:
    """Where a cluster is and with which credentials: from the options, and for what they leave out from a kubeconfig.

    Raises:
        UsageError: Options contradict each other, or something is missing that a new cluster needs.
    """
    in_cluster, kubeconfig = options.get("in_cluster", False), options["from_kubeconfig"]
    arguments.one_of(host=options["host"], in_cluster=in_cluster, from_kubeconfig=kubeconfig)
    own = _access(options)
    if kubeconfig is not None:
        return _from_kubeconfig(kubeconfig, options, own)
    if options["context"]:
        raise UsageError("--context: of which file? add --from-kubeconfig FILE")
    if new and not options["host"] and not in_cluster:
        raise UsageError("say where the cluster is: --host HOST, --from-kubeconfig FILE or --in-cluster")
    if in_cluster and own:
        raise UsageError("--in-cluster takes the CA and the token from its pod; leave --ca-file and --token-file out")
    if new and not in_cluster and not {"token", "token_source"} & own.keys():
        if (token := os.environ.get(TOKEN_VARIABLE, "").strip()) == "":
            raise UsageError(f"token: give --token-file FILE (- for standard input), or set {TOKEN_VARIABLE}")
        own["token"] = token
    return own


def _access(options: dict[str, Any]) -> dict[str, Any]:
    """CA and credentials, from options of their own."""
    ca, token, source, command = (options[name] for name in ("ca_file", "token_file", "token_from", "token_command"))
    arguments.one_of(token_file=token, token_from=source, token_command=command)
    arguments.one_input(("--ca-file", ca), ("--token-file", token))
    found: dict[str, Any] = {}
    if ca is not None:
        found["cert"] = arguments.certificates(ca, "--ca-file")
    if token is not None:
        found["token"] = arguments.token(token, "--token-file")
    if source is not None:
        found["token_source"] = {"file": str(source.absolute())}
    if command is not None:
        found["token_source"] = {"command": arguments.command(command, "--token-command")}
    return found


def _from_kubeconfig(file: Path, options: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a kubeconfig says, where the options say nothing else. Its namespace is whoever's who uses it, and not taken."""
    from argosy.kube import kubeconfig

    found = kubeconfig.read(file, options["context"])
    port = options["port"] or found.port
    reached = {"host": found.host, "port": port, "path": options["path"] or found.path, "cert": found.ca} | own
    if {"token", "token_source"} & own.keys():
        return reached
    if found.refused:
        raise UsageError(
            f"{file}: {found.refused}; give argosy's own token: kubectl create token argosy -n argosy --duration 8760h | "
            "argosy cluster … --token-file -"
        )
    if found.token:
        return reached | {"token": found.token}
    if found.environment:
        output.note(
            f"the kubeconfig sets {', '.join(map(plain, found.environment))} for {plain(found.command[0])}; argosy does not keep "
            "them, set them in the environment of its processes"
        )
    where = "ARGOSY_TOKEN_COMMANDS" if found.command else "ARGOSY_TOKEN_DIRECTORY"
    output.note(f"the token is asked for anew by each process; those that may do so have it in {where}")
    return reached | {"token_source": {"file": found.token_file, "command": list(found.command)}}


def _lists(policy: Policy) -> str:
    """A policy on one line: its profile, and which lists have something."""
    lists = {field: value for field, value in policy.model_dump().items() if field != "profile" and value}
    return f"profile {policy.profile}" + "".join(f", {field} {len(value)}" for field, value in lists.items())


def _policy(profile: str | None, file: Path | None, now: dict[str, Any]) -> Policy:
    """What manifests may do: from a file, or the present policy with another profile."""
    from argosy.inputs import validated
    from argosy.shapes.given import Policy

    arguments.one_of(profile=profile, policy=file)
    given = arguments.mapping(file, "--policy") if file else now | ({"profile": profile} if profile else {})
    return validated(Policy, given)


def manifest(
    name: Annotated[
        str | None, typer.Argument(help="A registered cluster, whose namespace and policy it is for.", metavar="[NAME]")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Namespace in which workflows run; default: argosy.")] = None,
    no_logs: Annotated[
        bool, typer.Option("--no-logs", help="Without the right to read what containers write.")
    ] = False,
    pod_security: Annotated[
        Literal["privileged", "baseline", "restricted"] | None,
        typer.Option(help="Level that the namespace enforces; default: baseline, or what the cluster's profile needs."),
    ] = None,
    artifact_secret: Annotated[
        list[str] | None,
        typer.Option(help="Secret of the artifact repository, which Argo Server reads for stored logs; repeatable."),
    ] = None,
    pods: Annotated[int | None, typer.Option(help="Quota: most pods of the namespace.", min=1)] = None,
) -> None:
    """Print what a cluster's administrator applies: namespace, accounts, roles with their reasons, admission policy. Pipe it into
    `kubectl apply -f -`."""
    from argosy.kube import granting

    wanted: dict[str, Any] = {}
    if name is not None:
        with client() as opened:
            found = opened.cluster(name)
        wanted = granting.of_policy(found.policy) | {"namespace": found.namespace, "logs": found.logs}
    options = {"namespace": namespace, "pod_security": pod_security, "pods": pods}
    wanted |= {field: value for field, value in options.items() if value is not None}
    wanted |= {"logs": False} if no_logs else {}
    typer.echo(granting.manifest(granting.Grant(**wanted, artifact_secrets=tuple(artifact_secret or ()))), nl=False)
