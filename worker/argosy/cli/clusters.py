"""`argosy cluster`: register the Kubernetes clusters that jobs run on. A token is given by file, pipe or environment, and is never
shown."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from argosy import telling
from argosy.cli import arguments, completion, history, output
from argosy.cli.arguments import Yes
from argosy.cli.cluster_options import Name, Organization
from argosy.cli.commands import App
from argosy.cli.control import cancel_on
from argosy.cli.findings import ends_soon, findings, renew, token
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client
from argosy.cli.text import counted_jobs, plain
from argosy.cli.times import Time, age, ago

if TYPE_CHECKING:
    from argosy.client import Client
    from argosy.shapes.moved import MovedShape
    from argosy.shapes.shown import ClusterShape

app = App(help="Register the Kubernetes clusters that jobs run on.")


@app.command("list")
def list_(organization: Organization = None, output_format: Output = Format.TABLE, _time: Time = None) -> None:
    """List the registered clusters and their state."""
    with client() as opened:
        found = opened.clusters(organization=organization)
    output.show(found, output_format, columns=_COLUMNS, name=lambda cluster: cluster.name)


@app.command()
def get(name: Name, output_format: Output = Format.TABLE, _time: Time = None) -> None:
    """Show one cluster."""
    with client() as opened:
        found = opened.cluster(name)
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
    else:
        output.show([found], output_format, columns=_COLUMNS, name=lambda cluster: cluster.name)


@app.command()
def describe(name: Name, _time: Time = None) -> None:
    """Show all that is known of a cluster: where it is, how it is, what it may take, what happened there last."""
    with client() as opened:
        found, events = opened.cluster(name), opened.events(cluster=name, limit=_EVENTS).events
    output.facts(_facts(found, datetime.now(UTC)))
    if events:
        typer.echo("")
        output.table(events, history.COLUMNS)


_EVENTS = 20
"""Of the newest events."""


@app.command()
def check(name: Name, output_format: Output = Format.TABLE) -> None:
    """Ask a cluster whether argosy can work there; if not, say what is missing and exit 1."""
    from dataclasses import asdict

    with client() as opened:
        report, found = opened.check_cluster(name), opened.cluster(name)
    if output.structured(output_format):
        output.data(asdict(report) | {"health": str(report.health)}, output_format)
    elif output_format is Format.NAME:
        output.lines([name])
    else:
        output.facts({"cluster": name} | findings(report, found))
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
def release(name: Name, yes: Yes = False) -> None:
    """Remove argosy's finalizer from all its workflows on a cluster; how they ended may be lost if it is not recorded yet."""
    arguments.confirmed(f"Give up how workflows on cluster {name} ended, where that is not recorded yet?", yes)
    with client() as opened:
        count = opened.release_cluster(name)
    output.note(f"cluster {name}: {count} workflow{'s' * (count != 1)} released")


@app.command()
def move(
    source: Annotated[
        str, typer.Argument(help="The cluster that has them.", metavar="FROM", autocompletion=completion.clusters)
    ],
    target: Annotated[
        str, typer.Argument(help="The cluster that is to have them.", metavar="TO", autocompletion=completion.clusters)
    ],
    yes: Yes = False,
    output_format: Output = Format.TABLE,
) -> None:
    """Move the queued jobs of a cluster to another one; exit code 1 if some must stay. What runs stays where it runs."""
    with client() as opened:
        planned = opened.move_jobs(source, target, dry_run=True)
        if planned.jobs or planned.launches:
            arguments.confirmed(_moving(planned, source, opened.cluster(target)), yes)
            planned = opened.move_jobs(source, target)
    if output.structured(output_format):
        output.data(output.dump(planned), output_format)
    elif output_format is Format.NAME:
        output.lines([target])
    else:
        _tell_moved(planned, source, target)
    if planned.stayed:
        raise typer.Exit(1)


def _moving(planned: MovedShape, source: str, target: ClusterShape) -> str:
    """The question before jobs are moved."""
    trouble = "paused" if target.paused_at else target.health
    return f"Move {_what(planned)} from cluster {source} to {target.name}" + (
        "?" if trouble == "ok" else f", which is {trouble}?"
    )


def _what(moved: MovedShape) -> str:
    later = (
        f"{moved.launches} launch{'es' * (moved.launches != 1)} that {'are' if moved.launches != 1 else 'is'} cut later"
    )
    return f"{counted_jobs(moved.jobs)}" + f" and {later} (jobs: {moved.uncut})" * bool(moved.launches)


_STAYED = 20
"""Launches whose reason is told."""


def _tell_moved(moved: MovedShape, source: str, target: str) -> None:
    if moved.jobs or moved.launches:
        output.note(f"{_what(moved)} moved from cluster {source} to {target}")
    elif not moved.stayed:
        output.note(f"nothing is queued for cluster {source}")
    if moved.claimed:
        output.note(f"{counted_jobs(moved.claimed)} claimed or ended meanwhile; they stay where they are")
    for each in moved.stayed[:_STAYED]:
        output.note(f"{counted_jobs(each.jobs)} of launch {each.gid} stay: {each.reason}")
    if (more := len(moved.stayed) - _STAYED) > 0:
        output.note(f"and {more} more launch{'es' * (more != 1)}; all of them: -o json")
    if moved.algorithms:
        names = ", ".join(sorted(moved.algorithms)[:_STAYED])
        output.note(
            f"new launches of these algorithms still go to {source}: {names}; argosy algorithm update NAME --cluster {target}"
        )


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
    yes: Yes = False,
) -> None:
    """Release a cluster, remove it and forget its token; refused while jobs on it have not ended, unless it is abandoned."""
    with client() as opened:
        was_default = opened.cluster(name).default
        arguments.confirmed(_removing(opened, name, was_default, abandon), yes)
        ended = opened.remove_cluster(name, abandon=abandon, waiting=waiting)
    jobs = f"; {ended} job{'s' * (ended != 1)} that had not ended {'are' if ended != 1 else 'is'} Lost or Cancelled"
    output.note(f"cluster {name} is removed" + jobs * bool(ended))
    if was_default:
        output.note("it was the default: algorithms that name none need another; argosy cluster update NAME --default")


def _removing(opened: Client, name: str, was_default: bool, abandon: bool) -> str:
    """The question before a cluster is removed."""
    relying = [
        each.name
        for each in (opened.algorithms() if was_default else [])
        if each.cluster is None and not each.clusters and not each.cluster_labels
    ]
    question = f"{'Abandon' if abandon else 'Remove'} cluster {name}"
    question += " with the jobs that run there or wait for it alone" * abandon
    if relying:
        question += f"; it is the default, and these algorithms name no other: {', '.join(sorted(relying)[:20])}"
    return question + "?"


@app.command()
def drain(
    name: Name,
    reason: Annotated[str, typer.Option(help="Shown with the jobs that wait.")] = "it is being drained",
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Cancel what runs there; jobs that are queued for it go on waiting.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Pause a cluster and wait until no workflow of it is unfinished. Ctrl-C ends the waiting only: it stays paused."""
    with client() as opened:
        opened.pause(cluster=name, reason=reason)
        if cancel:
            cancel_on(opened, name, yes, waiting=False)
        before = -1
        while active := opened.cluster(name).active:
            if active != before:
                output.note(f"cluster {name} is paused; unfinished workflows there: {active}")
            before = active
            time.sleep(_LOOK)
    output.note(f"cluster {name} is empty, and stays paused; to go on: argosy cluster resume {name}")


_LOOK = 1.0
"""Seconds between two looks at a cluster that is being drained."""


def _address(cluster: ClusterShape) -> str:
    if cluster.host is None:
        return "in-cluster"
    host = f"[{cluster.host}]" if ":" in cluster.host else cluster.host
    return f"{host}:{cluster.port}{cluster.path}"


def _health(cluster: ClusterShape, now: datetime) -> str:
    """Its health; where nobody has seen the cluster lately, that is what is known of it."""
    if cluster.health == "ok" and (cluster.as_of is None or now - cluster.as_of > _LATELY):
        return "not known"
    return cluster.health


_LATELY = timedelta(minutes=1)
"""A tracker sees a cluster every two seconds."""


def _message(cluster: ClusterShape, now: datetime) -> str:
    if cluster.held_at is not None:
        return cluster.held_reason
    if cluster.health_message:
        return cluster.health_message
    if ends_soon(cluster, now):
        return f"token {token(cluster, now)}: {renew(cluster)}"
    if cluster.paused_at is not None:
        return cluster.paused_reason
    if _health(cluster, now) in ("not known", "unknown"):
        seen = f"for {telling.age(cluster.as_of, now)}" if cluster.as_of else "yet"
        return f"no tracker has seen it {seen}: is one running? (argosy tracker)"
    return cluster.open_reason if cluster.open_until is not None and cluster.open_until > now else ""


def _facts(cluster: ClusterShape, now: datetime) -> dict[str, str]:
    """All that is known of a cluster, in words."""
    lists = {field: value for field, value in cluster.policy.model_dump().items() if field != "profile" and value}
    deadlines = {"pending": cluster.pending_deadline, "run": cluster.run_deadline}
    switches = ("default", "finalizer", "logs", "pace", "token_in_clear")
    return {
        "name": cluster.name,
        "id": str(cluster.id),
        "organization": str(cluster.organization or ""),
        "address": _address(cluster),
        "namespace": cluster.namespace,
        "health": f"{_health(cluster, now)}, since {ago(cluster.health_since, now)}",
        "message": _message(cluster, now),
        "seen": ago(cluster.as_of, now) or "never",
        "held": _since(cluster.held_at, cluster.held_reason, now),
        "paused": _since(cluster.paused_at, cluster.paused_reason, now),
        "slots": f"{cluster.active} used of {cluster.capacity}"
        + (
            f", as many as Argo handles at present; its own limit is {cluster.max_active}"
            if cluster.capacity < cluster.max_active
            else ""
        ),
        "each project": str(cluster.project_max_active or ""),
        "deadlines": ", ".join(f"{name} {seconds:g} s" for name, seconds in deadlines.items() if seconds),
        "policy": f"profile {cluster.policy.profile}"
        + "".join(f"; {field}: {', '.join(map(str, value))}" for field, value in lists.items()),
        "labels": ", ".join(f"{label}={value}" for label, value in cluster.labels.items()),
        "on": ", ".join(name for name in switches if getattr(cluster, name)),
        "off": ", ".join(name for name in switches if not getattr(cluster, name)),
        "runs as": cluster.service_account or "",
        "token": token(cluster, now),
        "kubernetes": cluster.kubernetes_version,
        "argo": cluster.argo_version,
        "argo server": cluster.argo_server,
    }


def _since(when: datetime | None, reason: str, now: datetime) -> str:
    return "" if when is None else f"since {ago(when, now)}" + (f": {reason}" if reason else "")


_COLUMNS: list[Column[ClusterShape]] = [
    Column("NAME", lambda cluster, _: cluster.name),
    Column("ADDRESS", lambda cluster, _: _address(cluster)),
    Column("NAMESPACE", lambda cluster, _: cluster.namespace),
    Column("DEFAULT", lambda cluster, _: "yes" if cluster.default else ""),
    Column(
        "HEALTH",
        lambda cluster, now: (
            _health(cluster, now) + (", held" if cluster.held_at else ", paused" if cluster.paused_at else "")
        ),
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
    Column("TOKEN-ENDS", lambda cluster, _: str(cluster.token_expires_at or "")[:10], wide=True),
    Column("AS-OF", lambda cluster, now: age(cluster.as_of, now), wide=True),
    Column("MESSAGE", lambda cluster, now: plain(_message(cluster, now))),
]
