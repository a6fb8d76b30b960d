"""A registered cluster, algorithm and launch, and the command on their database."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import typer
from sqlalchemy import Engine
from typer import testing
from typer.testing import CliRunner, Result

from argosy import settings as settings_module
from argosy.cli import app
from argosy.client import Client
from argosy.demo.simulator import SimulatedCluster, SimulatedConnection
from argosy.launch.expand import Launching, expand
from argosy.launch.media import RestMediaSource
from argosy.settings import Settings
from argosy.shapes.shown import AlgorithmShape, ClusterShape, LaunchShape
from tests.conftest import ROOT
from tests.support.certificates import PEM
from tests.support.cli import HELLO, SECRET, Run, add
from tests.support.readme import exported


@pytest.fixture(scope="session", autouse=True)
def _one_command() -> Iterator[None]:
    """The tree of commands is built once, and not for each call: that takes longer than most commands."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testing, "_get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    return exported(settings, ARGOSY_REDIS_URL=settings.redis_url.get_secret_value())


@pytest.fixture
def argosy(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in this process."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    def run(*args: str, input: str | None = None, env: Mapping[str, str] | None = None) -> Result:
        settings_module.load.cache_clear()
        result = CliRunner().invoke(app, args, input=input, env=env)
        assert SECRET not in result.stdout + result.stderr
        return result

    return run


@pytest.fixture
def token_file(tmp_path: Path) -> str:
    file = tmp_path / "token"
    file.write_text(SECRET + "\n")
    return str(file)


@pytest.fixture
def cluster(client: Client) -> ClusterShape:
    """A registered cluster that nobody calls."""
    return client.add_cluster(name="north", host="127.0.0.1", port=1, cert=PEM, token=SECRET, default=True)


@pytest.fixture
def algorithm(client: Client, cluster: ClusterShape) -> AlgorithmShape:
    return client.register_algorithm(
        name="hello", project=1, user=7, manifest=Path(HELLO).read_text(), files_per_job=3, cluster=cluster.id
    )


@pytest.fixture
def launch(client: Client, engine: Engine, settings: Settings, algorithm: AlgorithmShape) -> LaunchShape:
    """A launch on 10 media, expanded into four queued jobs."""
    gid = client.launch("hello", project=1, user=7, media_ids=range(1, 11)).gid
    expand(Launching(engine, settings, RestMediaSource(settings)), gid)
    (found,) = client.launches(gid=gid)
    return found


@pytest.fixture(scope="module")
def simulated() -> Iterator[SimulatedConnection]:
    with SimulatedCluster() as made:
        yield made.connection


@pytest.fixture
def ready(client: Client, simulated: SimulatedConnection) -> Client:
    add(client, simulated)
    for name in ("hello", "pipeline", "fails"):
        manifest = (ROOT / "manifests" / f"{name}.yaml").read_text()
        client.register_algorithm(name=name, project=1, user=7, manifest=manifest, files_per_job=3)
    return client
