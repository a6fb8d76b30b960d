"""A cluster is brought in as its page says, with the real kubectl; credentials that somebody else renews; ways to an apiserver."""

import os
import socket
import ssl
import stat
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import trustme
import yaml
from aiohttp import web

from argosy.access import access_of
from argosy.client import Client
from argosy.kube import granting, kubeconfig
from argosy.kube.answers import ClusterDown, Health
from argosy.kube.connection import Access, Connection
from argosy.kube.tokens import TokenProvider
from argosy.kube.workflows import Workflows
from argosy.network.guard import inside
from argosy.settings import Settings
from argosy.store.registered import Cluster
from clusters.local.cluster import Connection as LocalConnection
from clusters.local.cluster import LocalCluster
from tests.cluster.clusters import access
from tests.cluster.manifests import LABEL
from tests.conftest import ROOT
from tests.support import pages
from tests.support.cli import executable
from tests.support.readme import exported
from tests.support.stack import until


@pytest.fixture
def environment(settings: Settings, local_cluster: LocalCluster) -> dict[str, str]:
    path = [str(Path(executable()).parent), str(local_cluster.kubectl_path.parent), os.environ["PATH"]]
    return exported(settings, PATH=":".join(path), KUBECONFIG=local_cluster.connection.kubeconfig, COLUMNS="160")


def typed(command: str, environment: dict[str, str], cwd: Path) -> str:
    """What a command of a shell prints, which must end well."""
    return pages.run(pages.Block("a test", 1, "sh", command + "\n", "run", ""), environment, {}, cwd)


def test_a_cluster_is_brought_in_by_the_commands_of_its_page(environment: dict[str, str], client: Client) -> None:
    blocks = [block for block in pages.SHELL if block.stage == "cluster"]
    printed = [pages.run(block, environment, {}) for block in blocks]
    assert len(printed) == 3
    assert "permissions" in printed[0]
    assert "all granted" in printed[0]
    found = client.cluster("gpu")
    assert (found.namespace, found.health) == ("vision", "unknown")
    assert found.token_expires_at is not None
    assert client.check_cluster("gpu").pod_security == "baseline"


def test_check_says_what_is_missing_and_the_command_that_gives_it(
    environment: dict[str, str], client: Client, local_cluster: LocalCluster, tmp_path: Path
) -> None:
    at = local_cluster.namespace("half")
    local_cluster.kubectl("delete", "rolebinding", "argosy", "-n", "half")
    client.add_cluster(name="half", host=at.host, port=at.port, cert=at.ca, token=at.token, namespace="half")
    printed = typed("argosy cluster check half || true", environment, tmp_path)
    facts = dict(line.split(maxsplit=1) for line in printed.splitlines()[1:] if "  " in line)
    assert facts["health"] == "forbidden"
    assert "create workflows" in facts["permissions"]
    typed(printed.split("to do", 1)[1].strip(), environment, tmp_path)
    assert "all granted" in typed("argosy cluster check half", environment, tmp_path)


def test_the_overlay_for_another_namespace_grants_what_manifest_prints(local_cluster: LocalCluster) -> None:
    rendered = local_cluster.kubectl("kustomize", str(ROOT / "clusters"))
    ours, theirs = (
        {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}
        for text in (granting.manifest(granting.Grant(namespace="jobs")), rendered)
    )
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        # kustomize takes them for objects of a namespace; the apiserver knows better.
        assert theirs[kind, "argosy-pods-jobs"]["metadata"].pop("namespace") == "jobs"
    assert ours == theirs


@pytest.fixture
def plugin(tmp_path: Path, local_cluster: LocalCluster) -> Path:
    """A credential plugin, which says where it was run."""
    file = tmp_path / "get-token"
    answer = f"""#!/bin/sh
[ "$1" = --cluster ] && [ -n "$KUBERNETES_EXEC_INFO" ] && [ -z "$ARGOSY_KEYS" ] || {{ echo no >&2; exit 3; }}
echo "$KUBERNETES_EXEC_INFO" > {tmp_path}/info
echo run >> {tmp_path}/runs
cat {tmp_path}/credential
"""
    file.write_text(answer)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    token = local_cluster.connection.token
    (tmp_path / "credential").write_text(
        f'{{"kind": "ExecCredential", "status": {{"token": "{token}", "expirationTimestamp": "2099-01-01T00:00:00Z"}}}}'
    )
    return file


def source_of(settings: Settings, at: LocalConnection, command: list[str]) -> TokenProvider:
    """As a registered cluster has it."""
    row = Cluster(
        name="gpu", host=at.host, port=at.port, cert=at.ca, namespace=at.namespace, token_source={"command": command}
    )
    found = access_of(row, settings).source
    assert found is not None
    return found


def through(at: LocalConnection, source: TokenProvider) -> Connection:
    return Connection(replace(access(at), source=source))


async def test_a_plugin_gives_the_token_where_the_processes_may_run_it(
    plugin: Path, local_cluster: LocalCluster, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGOSY_KEYS", "secret")
    command = [str(plugin), "--cluster", "gpu"]
    source = source_of(settings.model_copy(update={"token_commands": [str(plugin)]}), local_cluster.connection, command)
    at = local_cluster.connection
    assert source.server == f"https://{at.host}:{at.port}"
    async with through(local_cluster.connection, source) as connection:
        for _ in range(3):
            await Workflows(connection).page(LABEL)
        assert connection.secrets[-1] == local_cluster.connection.token
    assert (tmp_path / "runs").read_text() == "run\n", "a token that does not end is asked for once"
    told = yaml.safe_load((tmp_path / "info").read_text())["spec"]["cluster"]
    assert told["server"] == source.server
    assert b64decode(told["certificate-authority-data"]).decode() == source.ca
    async with through(local_cluster.connection, TokenProvider(command=source.command)) as connection:
        with pytest.raises(ClusterDown, match="ARGOSY_TOKEN_COMMANDS") as caught:
            await Workflows(connection).page(LABEL)
    assert caught.value.health is Health.UNAUTHORIZED


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo nobody knows you >&2; exit 1", "ended with 1: nobody knows you"),
        ("echo hello", "printed no ExecCredential"),
        ("""echo '{"status": {"clientCertificateData": "x"}}'""", "no client certificates"),
        ("yes | head -c 3000000", "wrote more than 1 MiB"),
    ],
)
async def test_a_plugin_that_gives_no_token_makes_the_cluster_unauthorized_in_its_words(
    script: str, said: str, tmp_path: Path, local_cluster: LocalCluster
) -> None:
    file = tmp_path / "plugin"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    async with through(
        local_cluster.connection, TokenProvider(command=(str(file),), allowed=(str(file),))
    ) as connection:
        with pytest.raises(ClusterDown, match=said):
            await Workflows(connection).page(LABEL)


async def test_a_plugin_that_does_not_end_is_killed_with_all_that_it_started(
    tmp_path: Path, local_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argosy.kube.tokens._LONGEST", 2.0)
    file = tmp_path / "plugin"
    file.write_text(f"#!/bin/sh\n(sleep 600) &\necho $! > {tmp_path}/child\n")
    file.chmod(0o755)
    async with through(
        local_cluster.connection, TokenProvider(command=(str(file),), allowed=(str(file),))
    ) as connection:
        with pytest.raises(ClusterDown, match="not done after"):
            await Workflows(connection).page(LABEL)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    await until(lambda: not child.exists() or " Z " in child.read_text(), bool)


async def test_a_token_file_is_read_again_and_only_below_its_directory(
    tmp_path: Path, local_cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, file = local_cluster.connection, tmp_path / "token"
    file.write_text("old\n")
    monkeypatch.setattr("argosy.kube.tokens._READ", 0.0)
    monkeypatch.setattr("argosy.kube.tokens._AGAIN", 0.0)
    async with through(at, TokenProvider(file=str(file), directory=str(tmp_path))) as connection:
        with pytest.raises(ClusterDown):
            await Workflows(connection).page(LABEL)
        file.write_text(at.token + "\n")
        await Workflows(connection).page(LABEL)
    (tmp_path / "below").mkdir()
    outside = tmp_path / "below" / "link"
    outside.symlink_to(file)
    async with through(at, TokenProvider(file=str(outside), directory=str(tmp_path / "below"))) as connection:
        with pytest.raises(ClusterDown, match="ARGOSY_TOKEN_DIRECTORY"):
            await Workflows(connection).page(LABEL)


@asynccontextmanager
async def proxied(at: LocalConnection, authority: trustme.CA) -> AsyncIterator[int]:
    """A proxy on [::1] that serves the apiserver below a path; yields its port."""
    upstream = ssl.create_default_context(cadata=at.ca)

    async def handle(request: web.Request) -> web.Response:
        url = f"https://{at.host}:{at.port}/{request.match_info['rest']}"
        headers = {name: request.headers[name] for name in ("Authorization", "Content-Type", "Accept")}
        async with aiohttp.ClientSession() as session:
            call = session.request(
                request.method, url, params=request.query, data=await request.read(), headers=headers, ssl=upstream
            )
            async with call as answer:
                return web.Response(body=await answer.read(), status=answer.status, content_type=answer.content_type)

    app = web.Application()
    app.router.add_route("*", "/k8s/clusters/c-1/{rest:.*}", handle)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("::1").configure_cert(context)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        await web.SockSite(runner, listener, ssl_context=context).start()
        try:
            yield listener.getsockname()[1]
        finally:
            await runner.cleanup()


async def test_an_apiserver_behind_a_path_and_on_ipv6_is_reached_as_its_kubeconfig_says(
    local_cluster: LocalCluster, tmp_path: Path
) -> None:
    at, authority = local_cluster.connection, trustme.CA()
    async with proxied(at, authority) as port:
        file = tmp_path / "kubeconfig"
        file.write_text(rancher(f"https://[::1]:{port}/k8s/clusters/c-1", authority.cert_pem.bytes(), at.token))
        found = kubeconfig.read(file)
        reached = Access("far", at.namespace, found.host, found.port, found.ca, found.token, guard=inside(["::1"]))
        async with Connection(replace(reached, path=found.path)) as connection:
            await Workflows(connection).page(LABEL)
        async with Connection(reached) as connection:
            with pytest.raises(Exception, match="404"):
                await Workflows(connection).page(LABEL)


def rancher(server: str, ca: bytes, token: str) -> str:
    return yaml.safe_dump(
        {
            "clusters": [
                {"name": "c", "cluster": {"server": server, "certificate-authority-data": b64encode(ca).decode()}}
            ],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
    )
