"""What a sighting of a workflow means for its attempt: one pure function of the attempt's row and the object.

These rules keep a job's state true (P1, P4). A workflow belongs to the attempt that its name and labels name, whether the row knows it
already or not. Once a k8s uid is recorded, only that object changes the attempt. A deletion counts more than the phase. Only the newest
attempt is re-opened. A workflow that runs although it should not is terminated. A database that was restored, or lost commits in a
fail-over, has rows that are older than the clusters: a workflow that such a row does not know is adopted, and a workflow without a row is
not ended.
"""

from dataclasses import dataclass

from argosy.kube.failure import LEAVES, failure, together
from argosy.kube.nodes import ONLY_A_CHILD
from argosy.kube.status import Sighting
from argosy.labels import LABEL_POD_WORKFLOW, workflow_name
from argosy.states import FINAL, ON_CLUSTER, TRANSITIONS, State, observed
from argosy.store import tracking


@dataclass(frozen=True)
class Verdict:
    """What to do about a sighting of a workflow.

    `change` is written to its attempt, with its nodes if `nodes`. `terminate` and `release` (remove our finalizer) are to be done on the
    cluster; `ended` is the state that is the reason to terminate; with `later`, release only when the attempt is quiet. `stranger` raises
    the alarm metric: the workflow should not be there. `unknown`: no row knows it. `again`: judge it again soon, because its row does not
    say yet whose it is. `ending`: judge it again when its pods have ended. `logs`: keep those of its pods
    that failed.
    """

    change: tracking.Change | None = None
    nodes: bool = False
    terminate: bool = False
    ended: State | None = None
    release: bool = False
    later: bool = False
    stranger: bool = False
    unknown: bool = False
    again: bool = False
    ending: bool = False
    logs: bool = False


def decide(known: tracking.Known | None, seen: Sighting, cluster_id: int, unwanted: bool = False) -> Verdict:
    """What a sighting means for the attempt that its labels name. Pure.

    Args:
        known: The attempt's row; None if there is none.
        seen: The workflow.
        cluster_id: Where it was seen.
        unwanted: There is no row and never will be: the launch ended before this job was cut, or a later attempt has a row.
    """
    if known is None:
        return _of_none(seen, unwanted)
    alive = not (seen.finished or seen.gone)
    if known.k8s_uid == seen.k8s_uid and known.cluster_id != cluster_id:
        return Verdict(stranger=alive)  # the same object, seen through a second registration of its cluster
    if known.k8s_uid is None and known.cluster_id not in (None, cluster_id) and known.state is not State.QUEUED:
        return Verdict(stranger=alive, again=alive)  # another cluster's create, which has no answer yet
    if known.k8s_uid is None and not known.fits:
        # The owner of one cluster must not be able to take over a job of another.
        return Verdict(stranger=alive)
    if not _same(known, seen):
        return Verdict(terminate=alive and not seen.shutdown, release=_held_for_nothing(seen), stranger=alive)
    ours = known.cancel_requested or known.overdue or seen.ended
    ending = bool(ours) and seen.ending and known.state not in FINAL
    target = _target(known, seen, ending)
    may = target is not None and (target in TRANSITIONS[known.state]) and (known.newest or known.state not in FINAL)
    state = target if may and target is not None else known.state
    wanted = known.newest and not known.cancel_requested and state not in FINAL
    terminate = alive and not wanted and not seen.shutdown
    return Verdict(
        change=_change(known, seen, state, cluster_id, ending),
        ending=ending,
        # Once an end is recorded, its nodes are kept, even if the workflow runs again later (etcd was restored).
        nodes=may or known.state not in FINAL,
        # Those of a workflow whose end is recorded only until it is released; a cancelled job needs no reason.
        logs=(may or known.state not in FINAL or seen.held) and not known.cancel_requested,
        terminate=terminate,
        ended=_ended_for(known.cancel_requested, state) if terminate else None,
        release=seen.held and not seen.gone and state in FINAL and (seen.finished or seen.deleting),
        # Keep the name taken while a create that was given up may still arrive: else it would make a second workflow.
        later=not known.quiet,
        stranger=alive
        and known.k8s_uid is not None
        and known.state in FINAL
        and state in FINAL
        and not seen.deleting
        and not seen.shutdown,
    )


def _of_none(seen: Sighting, unwanted: bool) -> Verdict:
    """The verdict on a workflow whose attempt has no row."""
    alive = not (seen.finished or seen.gone)
    if not unwanted:
        # The database may have lost its row with its last commits: an operator decides what to do with it.
        return Verdict(release=seen.held and not seen.gone and seen.deleting, stranger=alive, unknown=True)
    ending = alive and not seen.shutdown
    return Verdict(
        terminate=ending, ended=State.CANCELLED if ending else None, release=_held_for_nothing(seen), stranger=alive
    )


def _same(known: tracking.Known, seen: Sighting) -> bool:
    """Whether it is the recorded object; if none is recorded, whether it has the attempt's own name."""
    if known.k8s_uid is not None:
        return known.k8s_uid == seen.k8s_uid
    return seen.name == workflow_name(known.uid, known.number)


def _held_for_nothing(seen: Sighting) -> bool:
    return seen.held and not seen.gone and (seen.finished or seen.deleting)


def _target(known: tracking.Known, seen: Sighting, ending: bool) -> State | None:
    """The state that follows from the object. A deletion counts more than the phase: a deleted workflow may say Running for ever. We
    terminate a workflow that is being deleted, and the phase that Argo sets then does not say how it ended."""
    if ending:
        return known.state if known.state in ON_CLUSTER else State.PENDING
    ended = State.CANCELLED if known.cancel_requested else seen.ended
    if (seen.gone or seen.deleting) and (not seen.finished or known.state is State.DELETED):
        return ended or State.DELETED
    return observed(seen.phase, ended)


def _ended_for(cancel_requested: bool, state: State) -> State | None:
    if cancel_requested:
        return State.CANCELLED
    return state if state in FINAL else None


def _change(
    known: tracking.Known, seen: Sighting, state: State, cluster_id: int, ending: bool
) -> tracking.Change | None:
    message, exit_code = seen.message or seen.note, None
    if state in (State.FAILED, State.ERROR):
        found = failure(seen.nodes or ())
        if found is not None:
            message, exit_code = together(seen.message, found[0]), found[1]
        elif ONLY_A_CHILD.fullmatch(seen.message):
            message = "; ".join(filter(None, ("a step failed", seen.note)))
    began = known.began or _began(seen)
    if ending and seen.pods_ended is None and known.state in ON_CLUSTER:
        return None  # nothing new is known yet
    if ending and seen.pods_ended is not None:
        message = f"ended; its pods still run: kubectl get pods -l {LABEL_POD_WORKFLOW}={seen.name}"
    if known.overdue and state in (State.FAILED, State.ERROR):
        message = known.overdue
    if state is State.DELETED:
        message = "its workflow was deleted on the cluster" + (f" ({message})" if message else "")
    if known.state in FINAL and state == known.state:
        return None
    now = (state, seen.k8s_uid, message, seen.progress, began)
    if now == (known.state, known.k8s_uid, known.message, known.progress, known.began):
        return None
    return tracking.Change(
        uid=known.uid,
        number=known.number,
        cluster_id=cluster_id,
        name=seen.name,
        state=state,
        k8s_uid=seen.k8s_uid,
        message=message,
        progress=seen.progress,
        started_at=seen.started_at,
        finished_at=seen.finished_at,
        began=began,
        exit_code=exit_code,
        resources=dict(seen.resources),
    )


def _began(seen: Sighting) -> bool:
    """Whether anything of it has run. The workflow's phase is not enough: it is Running as soon as Argo has processed it, even if no image
    can be pulled."""
    if seen.nodes is None:
        return seen.phase == "Running"
    return any(node.type in LEAVES and node.phase not in _NOT_BEGUN for node in seen.nodes)


_NOT_BEGUN = {"", "Pending", "Omitted", "Skipped"}
