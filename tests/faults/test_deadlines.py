"""Deadlines: neither an image that cannot be pulled nor a workflow that never ends holds a slot for ever."""

from argosy.client import Client
from argosy.settings import Settings
from tests.faults.conftest import manifest
from tests.support.stack import finished, running, until

NEVER_PULLED = manifest(0) + "          - {name: ARGOSY_PULL, value: never}\n"


async def test_a_workflow_whose_image_cannot_be_pulled_is_ended_when_its_pending_deadline_has_passed(
    proxied: Client, impatient: Settings
) -> None:
    proxied.register_algorithm(
        name="stuck", project=1, user=7, manifest=NEVER_PULLED, files_per_job=1, pending_deadline=3, run_deadline=600
    )
    proxied.update_cluster("here", max_active=1)
    async with running(impatient):
        stuck = proxied.launch("stuck", project=1, user=7, media_ids=[1])
        await until(lambda: [job.status for job in proxied.list(gid=stuck.gid)], ["Running"].__eq__)
        behind = proxied.launch("quick", project=1, user=7, media_ids=[1])
        (job,) = await finished(proxied, stuck.gid)
        assert job.status == "Failed"
        assert job.message.startswith("no pod of it had run when its pending deadline passed: ")
        assert "ImagePullBackOff" in job.message
        (next_,) = await finished(proxied, behind.gid)
        assert next_.status == "Succeeded"


async def test_a_workflow_that_runs_longer_than_its_clusters_cap_allows_is_ended_with_that_reason(
    proxied: Client, impatient: Settings
) -> None:
    proxied.update_algorithm("long", pending_deadline=600, run_deadline=600)
    proxied.update_cluster("here", run_deadline=1)
    async with running(impatient):
        long = proxied.launch("long", project=1, user=7, media_ids=[1])
        quick = proxied.launch("quick", project=1, user=7, media_ids=[1])
        (job,) = await finished(proxied, long.gid)
        assert (job.status, job.message) == ("Failed", "it still ran when its run deadline passed")
        assert [job.status for job in await finished(proxied, quick.gid)] == ["Succeeded"]


async def test_a_job_that_is_cancelled_when_a_deadline_has_passed_ends_cancelled(
    proxied: Client, impatient: Settings
) -> None:
    proxied.update_cluster("here", run_deadline=1)
    async with running(impatient):
        long = proxied.launch("long", project=1, user=7, media_ids=[1])
        await until(lambda: [job.status for job in proxied.list(gid=long.gid)], ["Running"].__eq__)
        proxied.cancel(long.gid)
        assert [job.status for job in await finished(proxied, long.gid)] == ["Cancelled"]
