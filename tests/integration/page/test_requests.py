"""What the page answers to whatever is asked of it, without a browser."""

import re

import httpx

from tests.integration.page.conftest import World


def test_another_projects_things_are_as_things_that_are_not_there(world: World) -> None:
    project = world.project()
    gid = world.launched(project, 1)
    (job,) = world.client.list(gid=gid)
    with httpx.Client(
        base_url=f"{world.url}/ui/", cookies={"argosy_token": world.secret("full", [world.project()], [])}, trust_env=False
    ) as http:  # fmt: skip
        for path in (f"launch/{gid}", f"job/{job.uid}", f"job/{job.uid}/log"):
            assert http.get(path).status_code == 404
        for path in (
            f"search?q={gid}",
            f"jobs?gid={gid}",
            f"jobs?project={project}",
            "launches",
            "projects",
            "algorithms",
        ):
            answer = http.get(path)
            assert answer.status_code == 200
            assert str(job.uid) not in answer.text
            assert f"hello-{project}" not in answer.text


def test_another_sites_form_changes_nothing(world: World) -> None:
    form = {"verb": "cancel", "where": f"gid={world.launched(world.project(), 1)}"}
    with httpx.Client(base_url=world.url, cookies={"argosy_token": world.token}, trust_env=False) as http:
        hostile: list[dict[str, str]] = [
            {}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        ]  # fmt: skip
        for headers in hostile:
            for path in ("/ui/act", "/ui/sign-in", "/ui/sign-out", "/ui/clusters/1/pause"):
                assert http.post(path, data=form, headers=headers).status_code == 403, (path, headers)
        assert http.post("/ui/act", data=form, headers={"Origin": world.url}).status_code == 303


def test_every_answer_refuses_what_is_not_a_file_of_ours(world: World, paths: dict[str, str]) -> None:
    with httpx.Client(base_url=f"{world.url}/ui/", cookies={"argosy_token": world.token}, trust_env=False) as http:
        for path in (*paths.values(), "static/page.js", "static/nothing", "stream"):
            with http.stream("GET", path) as answer:
                policy = answer.headers["content-security-policy"]
                assert policy.startswith("default-src 'self'; ")
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                if answer.headers.get("content-type", "").startswith("text/html"):
                    text = answer.read().decode()
                    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", text), path
                    assert world.token not in text
                    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', text), path


def test_no_page_asks_a_cluster(world: World, paths: dict[str, str]) -> None:
    world.set("UPDATE argosy.cluster SET port = 9, token_sealed = 'x' WHERE is_default")  # nobody could be asked
    try:
        with httpx.Client(base_url=f"{world.url}/ui/", cookies={"argosy_token": world.token}, trust_env=False) as http:
            for name in paths.keys() - {"log", "missing"}:
                assert http.get(paths[name]).status_code == 200, name
    finally:
        world.set("UPDATE argosy.cluster SET port = :port WHERE is_default", port=world.cluster.port)
        world.client.update_cluster("here", token=world.cluster.token)
        world.set("UPDATE argosy.cluster SET health = 'ok', as_of = now() + interval '1 day'")
