"""Algorithms, their manifests and clusters through the gateway."""

import gzip

import brotli
import pytest

from argosy.store import manifests
from tests.integration.api.conftest import World
from tests.support.certificates import PEM
from tests.support.launching import HELLO
from tests.support.platform import FULL


def upload(world: World, text: str) -> str:
    world.platform.uploads["key"] = text.encode()
    body = {"name": "hello.yaml", "upload_url": f"{world.platform.url}/upload/key"}
    answer = world.http.post("/rest/SaveAlgorithmManifest/1", json=body)
    assert answer.status_code == 201, answer.text
    url: str = answer.json()["url"]
    return url


def spec(world: World, **fields: object) -> dict[str, object]:
    return {"name": "new", "manifest": upload(world, HELLO), "files_per_job": 5, "user": 7} | fields


def test_an_uploaded_manifest_is_registered_and_read_back(registered: World) -> None:
    body = spec(registered, description="d", categories=["a"], parameters=[{"name": "p", "value": 1}])
    answer = registered.http.post("/rest/Algorithms/1", json=body)
    assert answer.status_code == 201, answer.text
    found = registered.http.get(f"/rest/Algorithm/{answer.json()['id']}").json()
    assert found == answer.json()["object"]
    assert found | {"id": 0} == body | {
        "id": 0, "project": 1, "cluster": None, "parameters": [{"name": "p", "value": 1}],
    }  # fmt: skip
    assert registered.http.get(found["manifest"]).text == HELLO
    assert [each["name"] for each in registered.http.get("/rest/Algorithms/1").json()] == ["hello", "new"]


def test_what_was_read_may_be_sent_back(registered: World) -> None:
    """The published client registers with the model that it reads, and sends null and empty for what it does not know."""
    (read,) = registered.http.get("/rest/Algorithms/1").json()
    assert registered.http.patch("/rest/Algorithm/1", json=read).status_code == 200
    body = {**read, "name": "copy", "extended_info": None, "headers": [], "tparams": [], "template": None}
    del body["id"]
    answer = registered.http.post("/rest/Algorithms/1", json=body)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"id": 5}, "id: argosy numbers"),
        ({"project": 2}, "project: is 1"),
        ({"user": 8}, "user: you are user 7"),
        ({"template": 3}, "hosted templates"),
        ({"manifest": "/v1/Manifest/2/" + "0" * 64}, "SaveAlgorithmManifest"),
        ({"manifest": "https://evil.example/v1/Manifest/1/" + "0" * 64}, "SaveAlgorithmManifest"),
        ({"manifest": "file:///etc/passwd"}, "SaveAlgorithmManifest"),
        ({"files_per_job": 0}, "files_per_job"),
        ({"cluster": 99}, "99"),
        ({"categorys": []}, "categorys"),
        ({"name": "hello"}, "not unique"),
    ],
)
def test_what_cannot_be_registered_is_refused_in_words(
    registered: World, fields: dict[str, object], words: str
) -> None:
    answer = registered.http.post("/rest/Algorithms/1", json=spec(registered, **fields))
    assert 400 <= answer.status_code < 500, answer.text
    assert words in answer.json()["message"]


def test_a_manifest_that_is_not_kept_is_asked_for_again(registered: World) -> None:
    answer = registered.http.post("/rest/Algorithms/1", json=spec(registered, manifest="/v1/Manifest/1/" + "0" * 64))
    assert (answer.status_code, "upload it again" in answer.json()["message"]) == (404, True)


def test_all_that_is_wrong_with_a_manifest_is_told(registered: World) -> None:
    bad = HELLO.replace("      container:", "      hostile: 1\n      also: 2\n      container:")
    answer = registered.http.post("/rest/Algorithms/1", json=spec(registered, manifest=upload(registered, bad)))
    assert answer.status_code == 400
    assert "line" in answer.json()["message"]
    assert len(answer.json()["details"]) == 2


def test_an_algorithm_is_changed_and_removed(registered: World) -> None:
    url = upload(registered, HELLO + "# changed\n")
    body = {"description": "new", "manifest": url, "cluster": 1}
    assert registered.http.patch("/rest/Algorithm/1", json=body).status_code == 200
    found = registered.http.get("/rest/Algorithm/1").json()
    assert {name: found[name] for name in body} == body
    assert registered.http.patch("/rest/Algorithm/1", json={"cluster": None}).status_code == 200
    assert registered.http.get("/rest/Algorithm/1").json()["cluster"] is None
    assert registered.http.delete("/rest/Algorithm/1").json() == {"message": "algorithm hello is removed"}
    assert registered.http.get("/rest/Algorithm/1").status_code == 404


def test_a_cluster_of_another_organization_is_as_one_that_is_not_there(registered: World) -> None:
    assert registered.http.patch("/rest/Algorithm/1", json={"cluster": 1}).status_code == 200
    for organization, status in ((4, 404), (None, 200)):
        registered.client.update_cluster("c", organization=organization)
        assert registered.http.patch("/rest/Algorithm/1", json={"cluster": 1}).status_code == status


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://169.254.169.254/latest/meta-data", "not a host"),
        ("http://127.0.0.1:1/x", "not a host"),
        ("file:///etc/passwd", "not a host"),
        ("gopher://{host}/x", "not a host"),
        ("http://user@evil.example/x", "not a host"),
        ("{url}/upload/none", "HTTP 404"),
        ("{url}/upload/large", "more than"),
        ("{url}/upload/binary", "not UTF-8"),
        ("{url}/upload/nul", "NUL"),
        ("http://[", "upload_url"),
    ],
)
def test_an_upload_is_fetched_from_the_platform_only(registered: World, url: str, words: str) -> None:
    registered.platform.uploads |= {"large": b"a" * (1 << 20), "binary": b"\xff", "nul": b"a\0"}
    host = registered.platform.url.removeprefix("http://")
    body = {"name": "a", "upload_url": url.format(url=registered.platform.url, host=host)}
    answer = registered.http.post("/rest/SaveAlgorithmManifest/1", json=body)
    assert (answer.status_code, words in answer.json()["message"]) == (400, True), answer.text


def test_uploads_are_forgotten_and_algorithms_keep_theirs(registered: World) -> None:
    body = spec(registered, manifest=upload(registered, HELLO + "# mine\n"))
    made = registered.http.post("/rest/Algorithms/1", json=body).json()["object"]
    unused = upload(registered, HELLO + "# nobody's\n")
    with registered.client.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE argosy.manifest SET created_at = created_at - interval '2 days'")
        manifests.forget(connection)
    assert registered.http.get(made["manifest"]).text.endswith("# mine\n")
    assert registered.http.get(unused).status_code == 404


def cluster(**fields: object) -> dict[str, object]:
    return {"name": "new", "host": "127.0.0.2", "port": 6443, "cert": PEM, "token": "secret"} | fields


def test_a_cluster_is_registered_changed_and_removed_without_its_token_being_shown(registered: World) -> None:
    answer = registered.http.post("/rest/JobClusters/3", json=cluster())
    assert answer.status_code == 201, answer.text
    number = answer.json()["id"]
    found = registered.http.get(f"/rest/JobCluster/{number}").json()
    assert found == cluster(id=number, organization=3, token="*" * 8)
    assert registered.http.patch(f"/rest/JobCluster/{number}", json={**found, "name": "other"}).status_code == 201
    assert [each["name"] for each in registered.http.get("/rest/JobClusters/3").json()] == ["c", "other"]
    assert "secret" not in registered.http.get("/rest/JobClusters/3").text
    answer = registered.http.patch(f"/rest/JobCluster/{number}", json={**found, "host": "127.0.0.3"})
    assert (answer.status_code, "token" in answer.json()["message"]) == (400, True)
    assert registered.http.delete(f"/rest/JobCluster/{number}").status_code == 200
    assert registered.http.get(f"/rest/JobCluster/{number}").status_code == 404


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (cluster(token=None), "token: required"),
        (cluster(port=0), "port"),
        (cluster(cert="x"), "cert"),
        (cluster(organization=4), "organization: is 3"),
        (cluster(name="c"), "registered already"),
        ({}, "name: required"),
    ],
)
def test_what_is_no_cluster_is_refused_in_words(registered: World, body: dict[str, object], words: str) -> None:
    answer = registered.http.post("/rest/JobClusters/3", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert words in answer.json()["message"]


def test_a_message_goes_to_the_platform(registered: World) -> None:
    body = {"recipients": ["a@example.com"], "subject": "s", "text": "t"}
    answer = registered.http.post("/rest/Email/1", json=body)
    assert (answer.status_code, answer.json()) == (201, {"message": "sent"})
    assert registered.platform.emails == [body]
    assert registered.http.get("/rest/User/GetCurrent").json()["username"] == "user7"
    assert FULL not in registered.http.get("/rest/User/GetCurrent").text


@pytest.mark.parametrize("encoding", ["br", "gzip"])
def test_an_upload_that_is_packed_is_not_unpacked(registered: World, encoding: str) -> None:
    """Found by a hostile reader: two kilobytes of it were a gigabyte."""
    text = HELLO.encode()
    registered.platform.uploads["packed"] = brotli.compress(text) if encoding == "br" else gzip.compress(text)
    registered.platform.encoding = encoding
    body = {"name": "a", "upload_url": f"{registered.platform.url}/upload/packed"}
    answer = registered.http.post("/rest/SaveAlgorithmManifest/1", json=body)
    assert (answer.status_code, f"encoded as {encoding}" in answer.json()["message"]) == (503, True)


def test_clusters_that_do_not_answer_hold_few_threads(registered: World) -> None:
    """Found by a hostile reader: a cluster of a tenant's own held all of them for ever."""
    app_gateway = registered.app.state.gateway
    taken = 0
    while app_gateway.asking.acquire(blocking=False):
        taken += 1
    assert 0 < taken < registered.settings.api_threads
    for method, path, given in (
        ("POST", "/rest/JobClusters/3", {"json": cluster()}),
        ("PATCH", "/rest/JobCluster/1", {"json": {"name": "x"}}),
        ("DELETE", "/rest/JobCluster/1", {}),
    ):
        assert registered.http.request(method, path, **given).status_code == 503
    assert registered.http.get("/rest/JobCluster/1").status_code == 200
    for _ in range(taken):
        app_gateway.asking.release()
    assert registered.http.post("/rest/JobClusters/3", json=cluster()).status_code == 201
