"""The options of `argosy cluster add` and `update`."""

from pathlib import Path
from typing import Annotated

import typer

from argosy.cli import completion

Name = Annotated[str, typer.Argument(help="Name of the cluster.", metavar="NAME", autocompletion=completion.clusters)]
Host = Annotated[str | None, typer.Option(help="Host name or address of its Kubernetes API.")]
CaFile = Annotated[Path | None, typer.Option(help="PEM file with the CA of its Kubernetes API.")]
FromKubeconfig = Annotated[
    Path | None,
    typer.Option(
        help="Take address and CA, and without --token-file the credentials, from this kubeconfig.", metavar="FILE"
    ),
]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig; default: the current one.")]
PathOption = Annotated[
    str | None,
    typer.Option("--path", help="Path before that of its Kubernetes API, e.g. /k8s/clusters/c-1.", metavar="PATH"),
]
TokenFrom = Annotated[
    Path | None,
    typer.Option(
        help="File that each process reads again and again, for a token that somebody renews.", metavar="FILE"
    ),
]
TokenCommand = Annotated[
    str | None,
    typer.Option(
        help="Credential plugin with its arguments, for a token that each process asks for anew.", metavar="COMMAND"
    ),
]
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
