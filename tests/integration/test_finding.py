"""Finding jobs, against the same choice made over all rows; whatever is asked for, nothing of other projects is found."""

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text

from argosy import crypto
from argosy.batches import made
from argosy.client import Client
from argosy.errors import InvalidRequest, NotFound
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.shapes.filters import FAILED, JobFilter
from argosy.shapes.shown import JobShape
from argosy.states import State
from argosy.store import finding, searching
from tests.support.certificates import PEM
from tests.support.launching import HELLO

PROJECTS = (1, 2, 3)


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[Client]:
    """Jobs of three projects in every state; some were retried, some are hidden, some are being cancelled."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE finding TEMPLATE template")
    url = postgres.replace("/postgres?", "/finding?")
    settings = Settings(database_url=url, keys=crypto.new_keys()["ARGOSY_KEYS"], trusted_hosts=["127.0.0.1"])
    client = Client(settings)
    _fill(client, settings, Random(7))
    yield client
    client.close()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE finding WITH (FORCE)")


def _fill(client: Client, settings: Settings, random: Random) -> None:
    for name in ("c", "d"):
        client.add_cluster(name=name, host="127.0.0.1", port=ord(name), cert=PEM, token="t", default=name == "c")
    for project in PROJECTS:
        for name, size in (("one", 1), ("three", 3)):
            client.register_algorithm(
                name=f"{name}-{project}", project=project, user=7, manifest=HELLO, files_per_job=size
            )
    stage = Launching(client.engine, settings, RestMediaSource(settings))
    for number in range(30):
        project = PROJECTS[number % 3]
        gid = client.launch(
            f"{random.choice(['one', 'three'])}-{project}", project=project, user=random.choice([7, 8]),
            media_ids=random.sample(range(20), random.randint(1, 12)), extra_params=[{"name": "p", "value": random.choice("ab")}],
        ).gid  # fmt: skip
        expand(stage, gid)
    with client.engine.begin() as connection:
        for row in connection.execute(text("SELECT uid FROM argosy.job ORDER BY uid")).all():
            ended = random.choice([*State])
            connection.execute(
                text(
                    "UPDATE argosy.attempt SET state = :state, cluster_id = :cluster, message = :message, "
                    "finished_at = CASE WHEN :state IN ('queued', 'submitting', 'pending', 'running') THEN NULL ELSE now() END "
                    "WHERE uid = :uid"
                ),
                {"uid": row.uid, "state": str(ended), "cluster": random.randint(1, 2), "message": random.choice("xy")},
            )
    for job in [job for project in PROJECTS for job in client.list(project=project, limit=1000, nodes=False)]:
        if job.status in FAILED and random.random() < 0.3:
            client.retry(job.uid, failed_only=False)
        elif random.random() < 0.2:
            client.cancel(job.uid)
        elif random.random() < 0.1:
            client.delete(job.uid)


def _all(client: Client, *, hidden: bool = False) -> list[JobShape]:
    """All jobs in the order that is promised."""
    jobs = [job for project in PROJECTS for job in client.list(project=project, limit=1000, nodes=False, hidden=hidden)]
    return sorted(jobs, key=lambda job: (-job.gid.time, job.gid.bytes, job.uid.bytes))


def _pages(client: Client, where: JobFilter, projects: Any = None) -> list[UUID]:
    found: list[UUID] = []
    while True:
        page = client.find(where, projects=projects)
        assert len(page.items) <= where.limit
        found += [job.uid for job in page.items]
        if page.cursor is None:
            return found
        where = where.model_copy(update={"cursor": page.cursor})


def _chosen(job: JobShape, where: JobFilter, keys: dict[UUID, str], params: dict[UUID, str]) -> bool:
    return all(
        (
            not where.project or job.project in where.project,
            where.gid in (None, job.gid),
            where.index in (None, job.index),
            where.algorithm in (None, job.algorithm),
            where.cluster in (None, job.cluster),
            where.user in (None, job.user),
            where.media is None or where.media in job.media_ids,
            all(pair == f"p={params[job.gid]}" for pair in where.param),
            where.since is None or made(job.gid) >= where.since,
            where.until is None or made(job.gid) < where.until,
            where.error in (None, keys.get(job.uid)),
        )
    )


def _random(random: Random, jobs: list[JobShape], keys: dict[UUID, str]) -> JobFilter:
    job = random.choice(jobs)
    choices: dict[str, Any] = {
        "project": random.sample(PROJECTS, random.randint(1, 2)),
        "gid": job.gid,
        "index": job.index,
        "algorithm": job.algorithm,
        "cluster": random.choice(["c", "d", "elsewhere"]),
        "user": random.choice([7, 8, 9]),
        "media": random.randint(0, 21),
        "param": [random.choice(["p=a", "p=b", "p=", "a=p", "q=a"])],
        "since": made(job.gid),
        "until": made(job.gid),
        "error": random.choice([*keys.values(), "00000000"]),
        "status": random.sample([*map(str.capitalize, State), "Cancelling"], random.randint(1, 5)),
        "failed": True,
    }
    names = random.sample(sorted(choices), random.choice([0, 1, 1, 2, 2, 3]))
    return JobFilter(
        limit=random.choice([1, 3, 7, 1000]),
        sort=random.choice(["newest", "oldest"]),
        **{name: choices[name] for name in names},
    )


@pytest.mark.parametrize("seed", range(6))
def test_pages_and_counts_are_the_choice_among_all_jobs(
    filled: Client, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(finding, "_FEW", seed % 2 * 1000)  # launches lead, or jobs do
    random, jobs = Random(seed), _all(filled)
    with filled.engine.connect() as connection:
        rows = connection.execute(text("SELECT gid, parameters -> 0 ->> 1 AS p FROM argosy.launch"))
        params = {row.gid: row.p for row in rows}
    keys = {
        uid: group.key
        for gid in params
        for group in filled.failures(gid)
        for uid in _pages(filled, JobFilter(gid=gid, error=group.key))
    }
    assert keys
    for _ in range(40):
        where = _random(random, jobs, keys)
        chosen = [job for job in jobs if _chosen(job, where, keys, params)]
        shown = [job.uid for job in chosen if not where.statuses or job.status in where.statuses]
        assert _pages(filled, where) == (shown if where.sort == "newest" else shown[::-1]), where
        assert filled.counts(where).counts == dict(Counter(job.status for job in chosen)), where
        allowed = frozenset(random.sample(PROJECTS, random.randint(0, 2)))
        mine = {job.uid for job in chosen if job.project in allowed}
        assert set(_pages(filled, where, allowed)) == mine & set(shown), where
        assert sum(filled.counts(where, projects=allowed).counts.values()) == len(mine), where


def test_a_group_of_failures_is_found_without_what_is_hidden(filled: Client) -> None:
    shown = {job.uid for job in _all(filled)}
    for gid in {job.gid for job in _all(filled)}:
        for group in filled.failures(gid):
            found = {job.uid for job in filled.find(JobFilter(gid=gid, error=group.key, limit=1000)).items}
            assert len(found) <= group.count
            assert shown & set(group.jobs) <= found <= shown


def test_the_cursor_of_another_project_opens_nothing(filled: Client) -> None:
    page = filled.find(JobFilter(limit=1, project=(2,)))
    assert page.cursor
    where = JobFilter(cursor=page.cursor, limit=1000)
    assert {job.project for job in filled.find(where, projects=frozenset({1})).items} == {1}
    assert filled.find(where, projects=frozenset()).items == []


def test_which_attempt_is_listed_follows_from_the_jobs(filled: Client) -> None:
    wrong = text(
        "SELECT count(*) FROM argosy.attempt a JOIN argosy.job j USING (uid) WHERE a.listed <> (a.number = j.attempt AND NOT j.hidden)"
    )
    seen = text("SELECT count(*) FILTER (WHERE listed), count(*) FILTER (WHERE NOT listed) FROM argosy.attempt")
    with filled.engine.connect() as connection:
        assert connection.execute(wrong).scalar_one() == 0
        assert all(connection.execute(seen).one())


def _launches(client: Client, where: JobFilter, projects: Any = None) -> list[UUID]:
    found: list[UUID] = []
    while True:
        page = client.find_launches(where, projects=projects)
        found += [launch.gid for launch in page.items]
        if page.cursor is None:
            return found
        where = where.model_copy(update={"cursor": page.cursor})


@pytest.mark.parametrize(
    "query",
    [
        "", "project=2", "user=8", "algorithm=one-1", "param=p=a", "failed=true", "status=Cancelling&status=Lost", "cluster=d",
        "index=4", "status=Failed&cluster=c&user=7", "status=Rejected", "cluster=elsewhere", "status=Succeeded&index=0&project=1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("most", [0, 1000])
def test_launches_are_found_by_their_jobs(
    filled: Client, monkeypatch: pytest.MonkeyPatch, query: str, most: int
) -> None:
    monkeypatch.setattr(finding, "MOST", most)  # each launch is asked for its jobs, or the jobs for their launches
    where = JobFilter.of_query(f"{query}&limit=4")
    expected = {job.gid for job in filled.find(where.but(limit=1000)).items}
    newest = [launch.gid for launch in filled.launches(limit=100) if launch.gid in expected]
    assert _launches(filled, where) == newest
    assert _launches(filled, where.but(sort="oldest")) == newest[::-1]
    assert set(_launches(filled, where, frozenset({1}))) == {
        job.gid for job in filled.find(where.but(limit=1000), projects=frozenset({1})).items
    }


def test_launches_are_found_by_a_medium(filled: Client) -> None:
    with_it = {job.gid for job in _all(filled, hidden=True) if 5 in job.media_ids}
    assert set(_launches(filled, JobFilter(media=5))) == with_it


def test_a_word_finds_what_it_may_mean(filled: Client) -> None:
    job = next(job for job in _all(filled) if job.project == 2 and job.index)
    (launch,) = filled.launches(gid=job.gid)
    words = {
        str(job.uid): ("job", "id"),
        job.uid.hex[:12]: ("job", "id"),
        str(job.gid): ("launch", "id"),
        str(job.gid)[:23].upper(): ("launch", "id"),
        f"{job.gid}/{job.index}": ("job", "id"),
        f"{str(job.gid)[:13]}/{job.index}": ("job", "id"),
        f"job-{job.uid}-1": ("job", "workflow"),
        f"job-{job.uid}-1-main-3318221": ("job", "workflow"),
        str(job.media_ids[0]): ("job", f"medium {job.media_ids[0]}"),
        str(launch.user): ("launch", f"user {launch.user}"),
        launch.algorithm: ("launch", "algorithm"),
    }
    for word, (kind, why) in words.items():
        mine = {hit.uid or hit.gid: hit for hit in filled.search(word, limit=100)}
        found = mine[job.uid if kind == "job" else job.gid]
        assert (found.kind, found.why) == (kind, why), word
        assert {hit.project for hit in filled.search(word, projects=frozenset({1}), limit=100)} <= {1}, word
        assert filled.search(word, projects=frozenset()) == [], word
    assert {hit.why for hit in filled.search("p=a")} == {"parameter"}
    for nothing in (
        "",
        " ",
        "nothing",
        "1234567",
        str(2**63),
        "job-",
        "a" * 300,
        "00000000/99",
        "=",
        "\u0663",
    ):
        assert filled.search(nothing) == [], nothing


@pytest.mark.parametrize("word", ["q\x9eb", "a\tb=c", "a\u2028b"])
def test_a_word_that_no_name_can_be_finds_nothing(filled: Client, word: str) -> None:
    assert filled.search(word) == []


def test_an_id_is_meant_by_its_beginning_if_no_other_begins_so(filled: Client) -> None:
    job = _all(filled)[0]
    assert filled.resolve(str(job.uid)[:18]) == job.uid
    assert filled.resolve(f"job-{job.uid}-1") == job.uid
    assert filled.resolve(f"{str(job.gid)[:18]}/{job.index}") == job.uid
    assert filled.resolve(f"{job.gid}/{job.index}") == job.uid
    assert filled.resolve(str(job.gid)) == job.gid
    with pytest.raises(NotFound, match="begins with"):
        filled.resolve(str(job.uid)[:18], projects=frozenset({9}))
    with pytest.raises(InvalidRequest, match="at least 8 letters"):
        filled.resolve(str(job.uid)[:7])
    # The same first letters.
    with filled.engine.connect() as connection:
        first, second = UUID(int=job.gid.int ^ 1), UUID(int=job.gid.int ^ 2)
        copy = text(
            "INSERT INTO argosy.launch (gid, project, user_id, algorithm_name, request_digest) VALUES (:gid, 1, 1, 'x', '')"
        )
        for gid in (first, second):
            connection.execute(copy, {"gid": gid})
        with pytest.raises(InvalidRequest, match=f"begin with .*{max(first, second)}"):
            searching.resolve(connection, str(first)[:30])
        connection.rollback()
