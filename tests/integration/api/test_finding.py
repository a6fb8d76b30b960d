"""Finding jobs over HTTP: in the caller's own projects, by the same names as everywhere."""

from sqlalchemy import Engine

from argosy.shapes.filters import JobFilter
from tests.integration.api.conftest import World
from tests.integration.api.launches import cut, launch
from tests.support.launching import HELLO
from tests.support.platform import EXECUTE, READ


def test_jobs_are_found_page_by_page_and_counted(registered: World, engine: Engine) -> None:
    gid, _ = launch(registered, media_ids=list(range(9)))
    cut(registered, engine, gid)
    registered.client.register_algorithm(name="theirs", project=2, user=7, manifest=HELLO, files_per_job=3)
    cut(registered, engine, str(registered.client.launch("theirs", project=2, user=1, media_ids=[1]).gid))
    with registered.as_(READ) as http:
        first = http.get("/v1/Jobs", params={"limit": 2, "status": "queued"}).json()
        then = http.get("/v1/Jobs", params={"limit": 2, "status": "queued", "cursor": first["cursor"]}).json()
        counts = http.get("/v1/JobCounts", params={"failed": "true", "user": ""}).json()
        wrong = http.get("/v1/Jobs", params={"stauts": "queued"})
    assert [job["index"] for job in first["items"] + then["items"]] == [0, 1, 2]
    assert {job["gid"] for job in first["items"] + then["items"]} == {gid}
    assert then["cursor"] is None
    assert "nodes" not in first["items"][0]
    assert counts == {"counts": {"Queued": 3}, "more": False}
    assert wrong.status_code == 400
    assert 'did you mean "status"?' in wrong.json()["message"]
    document = registered.http.get("/schema").json()["paths"]["/v1/Jobs"]["get"]["parameters"]
    assert [each["name"] for each in document] == list(JobFilter.model_fields)


def test_what_a_filter_chooses_is_counted_then_cancelled_then_reported(registered: World, engine: Engine) -> None:
    gid, _ = launch(registered, media_ids=list(range(9)))
    cut(registered, engine, gid)
    registered.client.register_algorithm(name="theirs", project=2, user=7, manifest=HELLO, files_per_job=3)
    theirs = registered.client.launch("theirs", project=2, user=1, media_ids=[1]).gid
    cut(registered, engine, str(theirs))
    with registered.as_(EXECUTE) as http, registered.as_(READ) as reader:
        made = http.post("/v1/Bulk", json={"verb": "cancel", "where": {"status": ["Queued"]}})
        prepared = made.json()
        assert (made.status_code, prepared["count"], prepared["projects"], prepared["user"]) == (201, 3, [1], 8)
        assert reader.post("/v1/Bulk", json={"verb": "cancel", "where": {}}).status_code == 403
        assert reader.get(f"/v1/Bulk/{prepared['id']}").status_code == 404
        assert reader.post(f"/v1/Bulk/{prepared['id']}/Act").status_code == 404
        report = http.post(f"/v1/Bulk/{prepared['id']}/Act").json()
        assert (report["state"], report["done"], report["refused"]) == ("done", 3, [])
        assert http.get(f"/v1/Bulk/{prepared['id']}").json() == report
    assert {job.status for job in registered.client.list(project=1)} == {"Cancelled"}
    assert {job.status for job in registered.client.list(project=2)} == {"Queued"}
