"""Why a job is where it is. Pure: what the rows say becomes words, and what may be done about it.

Every reason for which the code leaves a job where it is has a code here (P12); a test brings a job into each.
"""

from collections.abc import Collection, Iterator, Sequence
from enum import StrEnum

from argosy.history.failed import FailedStep
from argosy.labels import LABEL_POD_WORKFLOW
from argosy.shapes.history import ReasonShape
from argosy.states import ENDED_EARLY, State
from argosy.store.processes import TRACKER, WORKER
from argosy.store.standing import Choice, JobStanding, QueuePlace, RunningStep, Uncut

OLD = 60.0
"""Seconds without news of a cluster after which its jobs' status is called old."""


class Code(StrEnum):
    """Reasons, for programs."""

    NO_WORKER = "no_worker"
    NO_TRACKER = "no_tracker"
    LAUNCH_ENDED = "launch_ended"
    LAUNCH_AFTER = "launch_after"
    LAUNCH_POSTPONED = "launch_postponed"
    LAUNCH_BEING_CUT = "launch_being_cut"
    LAUNCH_UNTOUCHED = "launch_untouched"
    CLUSTER_HELD = "cluster_held"
    PROJECT_PAUSED = "project_paused"
    ALGORITHM_PAUSED = "algorithm_paused"
    CLUSTER_PAUSED = "cluster_paused"
    NO_CLUSTER = "no_cluster"
    FAILED_OVER = "failed_over"
    BACK_OFF = "back_off"
    BREAKER_OPEN = "breaker_open"
    PROBING = "probing"
    AWAY = "away"
    MISPLACED = "misplaced"
    CLUSTER_FULL = "cluster_full"
    CLUSTER_PACED = "cluster_paced"
    PROJECT_LIMIT = "project_limit"
    BEHIND_OWN = "behind_own"
    TURN = "turn"
    NEXT = "next"
    CREATING = "creating"
    UNCLEAR = "unclear"
    TAKEN_OVER = "taken_over"
    ARGO_QUEUE = "argo_queue"
    STEP_WAITS = "step_waits"
    RUNNING = "running"
    DEADLINE = "deadline"
    OVERDUE = "overdue"
    CANCELLING = "cancelling"
    STATUS_OLD = "status_old"
    ENDED = "ended"
    RETRY_WAITS = "retry_waits"


def of_nobody(alive: Collection[str], ended: bool) -> Iterator[ReasonShape]:
    """That nobody is there who would go on with a job.

    Args:
        alive: Kinds of processes that are alive.
        ended: Whether the job has ended, so that nobody is needed.
    """
    for kind, code in ((WORKER, Code.NO_WORKER), (TRACKER, Code.NO_TRACKER)):
        if kind not in alive and not ended:
            yield _reason(code, f"no {kind} is alive", do=f"start one: argosy {kind}")


def of_uncut(launch: Uncut, cancelled: bool) -> Iterator[ReasonShape]:
    """Why a job has no row: its launch is not cut into jobs.

    Args:
        launch: Its launch.
        cancelled: Whether the job was cancelled alone.
    """
    if cancelled and launch.state not in ENDED_EARLY:
        yield _reason(Code.ENDED, "it was cancelled before it was queued")
    if launch.state in ENDED_EARLY:
        yield _reason(Code.LAUNCH_ENDED, f"its launch was {launch.state}", launch.reason, "make a new launch")
    elif launch.after is not None:
        do = f"argosy get {launch.after}"
        yield _reason(Code.LAUNCH_AFTER, f"its launch runs after launch {launch.after}, which has not ended", do=do)
    elif launch.worker is not None:
        yield _reason(Code.LAUNCH_BEING_CUT, f"worker {launch.worker} cuts its launch into jobs, try {launch.tries}")
    elif launch.reason:
        words = f"its launch is tried again in {_span(launch.next_in)}"
        yield _reason(Code.LAUNCH_POSTPONED, words, launch.reason)
    else:
        yield _reason(Code.LAUNCH_UNTOUCHED, "no worker has begun with its launch", do="argosy status")


def of_job(
    job: JobStanding,
    choices: Sequence[Choice],
    place: QueuePlace | None,
    steps: Sequence[RunningStep],
    failed: FailedStep | None = None,
) -> Sequence[ReasonShape]:
    """Why a job is where it is, what must end first at the top.

    Args:
        job: The job.
        choices: The clusters that may take it, or have it.
        place: Its place in the queue, if it is queued.
        steps: The steps of its workflow that have not ended.
        failed: The step of its workflow that failed first.
    """
    if job.state is State.QUEUED:
        return [*_of_queued(job, choices, place)]
    if job.state is State.SUBMITTING:
        return [*_of_submitting(job, choices)]
    if job.state in (State.PENDING, State.RUNNING):
        return [*_of_workflow(job, choices, steps)]
    return [*_of_ended(job, choices, failed)]


def _of_queued(job: JobStanding, choices: Sequence[Choice], place: QueuePlace | None) -> Iterator[ReasonShape]:
    yield from _of_holds([each for each in choices if each.held_at is not None and each.held_at > job.queued_at])
    yield from _of_pauses(job)
    if not choices:
        yield _reason(
            Code.NO_CLUSTER, "no registered cluster may take it", job.message, "register one, or give one its labels: argosy cluster list"
        )  # fmt: skip
    if job.doubt_in is not None and job.doubt_in > 0 and len(choices) > 1:
        words = f"another database server answers; a create sent before may still arrive for {_span(job.doubt_in)}"
        yield _reason(Code.FAILED_OVER, words)
    if job.starts_in is not None and job.starts_in > 0:
        yield _reason(Code.BACK_OFF, f"it may start in {_span(job.starts_in)}", job.message)
    shut = [(each, reason) for each in choices if (reason := _of_choice(job, each, choices)) is not None]
    yield from (reason for each, reason in shut if each.held_at is None or each.held_at <= job.queued_at)
    if place is None or (job.starts_in or 0) > 0 or (choices and len(shut) == len(choices)):
        return
    if place.own:
        words = f"{_many(place.own, 'job')} of the same user and project {'is' if place.own == 1 else 'are'} before it"
        yield _reason(Code.BEHIND_OWN, words, do="raise its launch's priority")
    if place.projects > 1 or place.others:
        words = f"project {job.project} takes turns with {_many(place.projects - 1, 'other project')}; its share is {place.share:.0%}"
        others = f"{_many(place.others, 'job')} of its other users wait, too" if place.others else ""
        yield _reason(Code.TURN, words, others)
    if not place.own and place.projects <= 1 and not place.others:
        yield _reason(Code.NEXT, "it is next", job.message, "if it stays so: argosy status")


def _of_holds(held: Sequence[Choice]) -> Iterator[ReasonShape]:
    for each in held:
        words = f"cluster {each.name}, which may have run it already, is held"
        yield _reason(Code.CLUSTER_HELD, words, each.held or "", "argosy db reconcile")


def _of_pauses(job: JobStanding) -> Iterator[ReasonShape]:
    if job.project_paused is not None:
        words = f"project {job.project} is paused"
        yield _reason(Code.PROJECT_PAUSED, words, job.project_paused, f"argosy project resume {job.project}")
    if job.algorithm_paused is not None:
        words = f"algorithm {job.algorithm} is paused"
        yield _reason(Code.ALGORITHM_PAUSED, words, job.algorithm_paused, f"argosy algorithm resume {job.algorithm}")


def _of_choice(job: JobStanding, at: Choice, choices: Sequence[Choice]) -> ReasonShape | None:
    """Why a cluster takes nothing now; None if it may."""
    name = f"cluster {at.name}"
    if at.paused is not None:
        return _reason(Code.CLUSTER_PAUSED, f"{name} is paused", at.paused, f"argosy cluster resume {at.name}")
    if at.held is not None:
        return _reason(Code.CLUSTER_HELD, f"{name} is held", at.held, "argosy db reconcile")
    if at.health == "misplaced":
        return _reason(
            Code.MISPLACED, f"{name} is not the one it was", at.health_message, f"argosy cluster check {at.name}"
        )
    if at.open_in is not None and at.open_in > 0:
        words = f"{name} is left alone for {_span(at.open_in)}"
        return _reason(Code.BREAKER_OPEN, words, at.open_reason, f"argosy cluster check {at.name}")
    if at.active >= at.capacity:
        if at.capacity < at.most:
            words = f"{name} is given {at.capacity} unfinished workflows at present, as fast as Argo handles them, and has {at.active}"
            return _reason(Code.CLUSTER_PACED, words, f"its own limit is {at.most}")
        words = f"{name} is full: {at.active} of {at.most} workflows are unfinished"
        return _reason(Code.CLUSTER_FULL, words, do="wait, or have its owner raise max_active")
    if at.own_most is not None and at.own_active >= at.own_most:
        words = f"project {job.project} has {at.own_active} of {at.own_most} workflows that it may have on {name}"
        return _reason(
            Code.PROJECT_LIMIT,
            words,
            do=f"wait, or: argosy project set {job.project} --max-active N --cluster {at.name}",
        )
    if at.health != "ok" and any(each.health == "ok" and _open(each) for each in choices):
        words = f"{name} does not answer, so that the others come first"
        return _reason(Code.AWAY, words, at.health_message or at.health, f"argosy cluster check {at.name}")
    if at.failing:
        words = f"{name} failed; one job at a time is tried there"
        return _reason(Code.PROBING, words, at.open_reason, f"argosy cluster check {at.name}")
    return None


def _open(at: Choice) -> bool:
    """Whether nothing but its slots keeps a cluster from taking jobs."""
    return not (at.paused is not None or at.held is not None or at.failing or (at.open_in or 0) > 0)


def _of_submitting(job: JobStanding, choices: Sequence[Choice]) -> Iterator[ReasonShape]:
    if job.claim_in is not None and job.claim_in < 0:
        yield from _of_pauses(job)
        yield from (
            reason
            for each in choices
            if each.id == job.cluster_id and (reason := _of_choice(job, each, choices)) and reason.code not in _ROOM
        )
        yield _reason(Code.TAKEN_OVER, f"worker {job.worker} did not finish it; another takes it over", job.message)
    elif job.message:
        words = (
            f"whether its workflow was created is not clear; the same is created again in {_span(job.claim_in or 0)}"
        )
        yield _reason(Code.UNCLEAR, words, job.message)
    else:
        yield _reason(Code.CREATING, f"worker {job.worker} creates its workflow on cluster {job.cluster}")


_ROOM = {Code.CLUSTER_FULL, Code.CLUSTER_PACED, Code.PROJECT_LIMIT}
"""A claimed job has its slot already."""


def _of_workflow(job: JobStanding, choices: Sequence[Choice], steps: Sequence[RunningStep]) -> Iterator[ReasonShape]:
    pods = f"kubectl get pods -l {LABEL_POD_WORKFLOW}={job.name}"
    here = next((each for each in choices if each.id == job.cluster_id), None)
    if here is not None and here.held is not None:
        yield _reason(Code.CLUSTER_HELD, f"cluster {job.cluster} is held", here.held, "argosy db reconcile")
    if job.seen_for > OLD:
        why = "" if here is None else ": ".join(filter(None, (here.health, here.health_message)))
        words = f"nothing was heard of cluster {job.cluster} for {_span(job.seen_for)}"
        yield _reason(Code.STATUS_OLD, words, why, f"argosy cluster check {job.cluster}")
    if job.cancel_requested:
        yield _reason(Code.CANCELLING, "a cancel was requested; it ends when its pods have ended", job.message, pods)
    elif job.overdue:
        yield _reason(Code.OVERDUE, "it is being ended", job.overdue, pods)
    elif not steps and job.state is State.PENDING:
        yield _reason(
            Code.ARGO_QUEUE,
            "Argo has its workflow and has not begun with it",
            job.message,
            f"see Argo's controller on cluster {job.cluster}",
        )
    for step in steps:
        if step.phase == "Pending":
            yield _reason(
                Code.STEP_WAITS,
                f"step {step.task} waits to start",
                step.message,
                f"kubectl describe pod {step.pod}" if step.pod else pods,
            )
    if running := [step.task for step in steps if step.phase == "Running"]:
        yield _reason(Code.RUNNING, f"runs: {', '.join(running)}", job.message)
    elif not steps and job.state is State.RUNNING:
        yield _reason(Code.RUNNING, "Argo runs its workflow; no step waits or runs just now", job.message)
    if job.stop_in is not None and not job.overdue:
        which = "run" if job.began else "pending"
        yield _reason(
            Code.DEADLINE, f"its {which} deadline is {'over' if job.stop_in < 0 else f'in {_span(job.stop_in)}'}"
        )


def _of_ended(job: JobStanding, choices: Sequence[Choice], failed: FailedStep | None) -> Iterator[ReasonShape]:
    if job.retries_left > 0 and job.state in (State.ERROR, State.LOST) and not job.cancel_requested:
        yield from _of_holds([each for each in choices if each.held_at is not None])
        if not choices:
            yield _reason(Code.NO_CLUSTER, "no registered cluster may take it", do="argosy cluster list")
        yield _reason(
            Code.RETRY_WAITS,
            f"it is retried by itself; {_many(job.retries_left, 'retry', 'retries')} left",
            job.message,
        )
        return
    logs = f"argosy logs {job.uid}" if failed is None else failed.logs(job.uid)
    do = "" if job.state is State.SUCCEEDED else f"{logs}; then argosy retry {job.uid}"
    if job.state is State.REJECTED:
        do = f"mend what it says, then: argosy retry {job.uid} --all"
    where = f" ({failed.where})" if failed is not None and failed.where else ""
    yield _reason(Code.ENDED, f"it ended {job.state}", f"{job.message}{where}", do)


def _reason(code: Code, words: str, why: str = "", do: str = "") -> ReasonShape:
    return ReasonShape(code=code, text=f"{words}: {why}" if why else words, do=do)


def _many(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
