"""Who stands between argosy and the API server says things too: whatever it says, it proves nothing (P1)."""

import math
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlmodel import Session

from argosy.access import access_of
from argosy.client import Client
from argosy.kube import answers, connection, workflows
from argosy.kube.connection import Access, Connection
from argosy.kube.secrets import Secrets
from argosy.kube.workflows import Workflows
from argosy.labels import FINALIZER
from argosy.network.guard import inside
from argosy.settings import Settings
from argosy.store import registry
from tests.cluster.manifests import LABEL, container, workflow
from tests.faults.actions import Answer, Instead, status_body
from tests.faults.conftest import Creates, ours, remove, stepping, tracking
from tests.faults.proxy import HOST, Proxy
from tests.support.hosts import HERE
from tests.support.seen import becomes
from tests.support.stack import finished, running, until

PLAIN = Answer(503, b"upstream connect error or disconnect/reset before headers", {"Content-Type": "text/plain"})
FOREIGN: dict[str, Answer] = {
    "a-plain-503": PLAIN,
    "a-plain-429-with-a-wish": Answer(429, b"slow down", {"Retry-After": "1"}),
    "a-plain-502": Answer(502, b"<html>bad gateway</html>"),
    "a-plain-403": Answer(403, b"blocked by policy"),
    "a-plain-404": Answer(404, b"404 page not found\n"),
    "a-plain-422": Answer(422, b"{}"),
    "a-redirect-to-a-login": Answer(302, b"", {"Location": "https://login.example.org"}),
    "a-200-in-a-foreign-form": Answer(200, b'{"status":"ok"}'),
    "a-200-without-json": Answer(200, b"<html>sign in</html>"),
}


@pytest.mark.parametrize("said", FOREIGN)
async def test_what_a_proxy_says_after_the_commit_makes_no_second_workflow_anywhere(
    said: str, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, creates: Creates, engine: Engine
) -> None:
    """With two clusters to choose from: whoever believed that nothing was created would create it on the other."""
    at = there.access
    proxied.add_cluster(
        name="beside",
        host=HOST,
        port=proxy.port,
        cert=proxy.ca,
        token=at.token,
        namespace="elsewhere",
        labels={"a": "b"},
    )
    proxied.update_cluster("here", labels={"a": "b"})
    proxied.update_algorithm("long", cluster_labels={"a": "b"})
    proxied.pause(cluster="beside")
    proxy.on(Instead(FOREIGN[said]), verb="create", resource="workflows")
    async with stepping(impatient) as steps:
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        (job,) = proxied.list(gid=launched.gid)
        assert (job.status, job.cluster) == ("Submitting", "here")
        assert len(await ours(engine, there)) == 1
        await steps.settle()
        async with tracking(impatient, steps):
            await until(
                lambda: proxied.list(gid=launched.gid), lambda jobs: [job.status for job in jobs] == ["Running"], 60
            )
    assert creates(job.uid) == 1


async def test_a_job_that_is_adopted_after_its_workflows_end_ends_as_that_did(
    proxied: Client, impatient: Settings, there: Connection, engine: Engine, creates: Creates
) -> None:
    """As after a fail-over that lost the claim: the tracker has told how it ended, and no event will say so again."""
    async with stepping(impatient) as steps, tracking(impatient, steps):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        await finished(proxied, launched.gid)
        with engine.begin() as database:
            database.execute(
                text(
                    "UPDATE argosy.attempt SET state = 'queued', name = NULL, k8s_uid = NULL, digest = NULL, claim_epoch = 0, tries = 0, "
                    "finished_at = NULL, submitted_at = NULL, started_at = NULL, quiet_at = NULL, message = '', progress = ''"
                )
            )
        await steps.submitter.run(1)
        (job,) = await finished(proxied, launched.gid)
    assert (job.status, job.attempt) == ("Succeeded", 1)
    assert creates(job.uid) == 1


async def test_a_job_cancelled_while_its_create_was_unclear_leaves_nothing_running(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, engine: Engine
) -> None:
    proxy.on(Instead(PLAIN), verb="create", resource="workflows")
    async with stepping(impatient) as steps:
        launched = proxied.launch("long", project=1, user=7, media_ids=[1])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        proxied.cancel(launched.gid)
        async with tracking(impatient, steps):
            (job,) = await finished(proxied, launched.gid)
            assert job.status == "Cancelled"
            assert [item["status"]["phase"] for item in await ours(engine, there)] == ["Failed"]


async def test_a_success_that_is_not_the_api_servers_ends_releases_and_deletes_nothing(
    proxied: Client, proxy: Proxy, there: Connection
) -> None:
    """Found by the audit: a workflow kept its finalizer for ever, because nobody released it a second time."""
    at, foreign = there.access, FOREIGN["a-200-in-a-foreign-form"]
    made = await Workflows(there).create(workflow("believed", container(), suspend=True, finalizers=[FINALIZER]))
    async with Connection(
        Access("here", at.namespace, HOST, proxy.port, proxy.ca, at.token, guard=inside(HERE))
    ) as here:
        workflows_, secrets = Workflows(here), Secrets(here)
        for work in (
            lambda: workflows_.terminate("believed", made["uid"]),
            lambda: workflows_.release("believed", made["uid"], [FINALIZER], made["resourceVersion"]),
            lambda: secrets.ensure("believed", {LABEL: "believed"}, {"token": "t"}),
            lambda: secrets.found({LABEL: "believed"}),
        ):
            proxy.on(foreign)
            with pytest.raises(answers.Unclear):
                await work()
        await secrets.ensure("believed", {LABEL: "believed"}, {"token": "t"})
        (secret,) = await secrets.found({LABEL: "believed"})
        proxy.on(foreign)
        with pytest.raises(answers.Unclear):
            await secrets.delete(secret.name, secret.uid)
        await secrets.delete(secret.name, secret.uid)
        assert await secrets.found({LABEL: "believed"}) == []
    now = await Workflows(there).get("believed")
    assert (now["metadata"]["finalizers"], now["spec"].get("shutdown")) == ([FINALIZER], None)
    await remove(there, "believed")


async def test_a_cluster_behind_a_sign_in_page_is_unreachable_in_words_and_fails_no_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    rule = proxy.on(FOREIGN["a-200-in-a-foreign-form"], times=math.inf)
    async with running(impatient):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await becomes(proxied, "unreachable", "the form of the Kubernetes API")
        rule.times = 0
        (job,) = await finished(proxied, launched.gid, 60)
        assert (job.status, job.attempt) == ("Succeeded", 1)


async def test_a_cluster_that_repeats_our_token_does_not_have_it_kept_or_shown(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with Session(proxied.engine) as session:
        token = access_of(registry.cluster(session, "here"), impatient).token
    echo = status_body(502, "", f"debug: GET / Authorization: Bearer {token}\x00")
    proxy.on(Answer(502, echo), times=math.inf)
    async with running(impatient):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1])
        await becomes(proxied, "unreachable", "Bearer …")
        await until(lambda: proxied.list(gid=launched.gid), lambda jobs: bool(jobs and jobs[0].message), 30)
        shown = [str(proxied.cluster("here")), str(proxied.list(gid=launched.gid)), caplog.text]
        proxy.clear()
        await finished(proxied, launched.gid, 60)
    assert not [text_ for text_ in shown if token in text_]


async def test_a_refusal_with_a_nul_rejects_its_job(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    proxy.on(Answer(422, status_body(422, "Invalid", "image \x00 is bad")), verb="create", resource="workflows")
    async with running(impatient):
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1, 2])
        jobs = await finished(proxied, launched.gid, 60)
    assert sorted(job.status for job in jobs) == ["Rejected", "Succeeded"]


TOO_LARGE = (
    "etcdserver: request is too large",
    "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2097200 vs. 2097152)",
)


@pytest.mark.parametrize("words", TOO_LARGE)
async def test_a_workflow_that_etcd_has_no_room_for_is_rejected_and_its_cancel_ends(
    words: str, proxied: Client, proxy: Proxy, impatient: Settings, there: Connection
) -> None:
    too_large: dict[str, Any] = status_body(500, "", words)
    proxy.on(Answer(500, b"unclear"), verb="create", resource="workflows")
    proxy.on(Answer(500, too_large), verb="create", resource="workflows", times=math.inf)
    async with stepping(impatient) as steps:
        launched = proxied.launch("quick", project=1, user=7, media_ids=[1, 2])
        await steps.cut(launched.gid)
        await steps.submitter.run(1)
        first, second = sorted(proxied.list(gid=launched.gid), key=lambda job: job.status)
        assert (first.status, second.status) == ("Rejected", "Submitting")
        assert "too large for this cluster" in first.message
        proxied.cancel(launched.gid)
        await steps.settle()
        assert {job.status for job in proxied.list(gid=launched.gid)} == {"Rejected", "Cancelled"}


async def test_an_endless_answer_is_not_read_to_its_end(
    proxied: Client, proxy: Proxy, impatient: Settings, there: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BODY_LIMIT", 1 << 20)
    at = there.access
    proxy.on(Answer(200, b"x" * (4 << 20)), times=math.inf)
    async with Connection(
        Access("here", at.namespace, HOST, proxy.port, proxy.ca, at.token, guard=inside(HERE))
    ) as here:
        with pytest.raises(answers.TooLong, match="more than 1 MiB"):
            await Workflows(here).get("x")
        with pytest.raises(answers.TooLong):
            await Workflows(here).page("a=b")


async def test_a_page_of_workflows_that_is_too_long_is_asked_for_in_smaller_ones(
    there: Connection, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing of them runs, or how large they are would depend on how far that is.
    created = [
        await Workflows(there).create(workflow(f"page-{number}", container(), suspend=True)) for number in range(3)
    ]
    monkeypatch.setattr(connection, "BODY_LIMIT", 6_000)
    seen: list[str] = []
    continue_ = ""
    while True:
        page = await Workflows(there).page(f"{LABEL}=page", continue_, limit=workflows.PAGE)
        seen += [item["metadata"]["name"] for item in page.items]
        if not (continue_ := page.continue_):
            break
    assert {metadata["name"] for metadata in created} <= set(seen)
    for metadata in created:
        await remove(there, metadata["name"])


async def test_an_endless_line_of_a_watch_is_given_up(
    there: Connection, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "LINE_LIMIT", 1 << 20)
    proxy.on(Answer(200, b"x" * (4 << 20)), times=math.inf)
    at = there.access
    async with Connection(
        Access("here", at.namespace, HOST, proxy.port, proxy.ca, at.token, guard=inside(HERE))
    ) as here:
        with pytest.raises(answers.TooLong, match="line of more than 1 MiB"):
            await _watched(here)


async def _watched(here: Connection) -> None:
    async with Workflows(here).watch("a=b", "1") as events:
        async for _ in events:
            pass
