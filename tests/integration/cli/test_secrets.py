"""Keys that are missing, wrong or changed, and what no key opens."""

import subprocess
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread
from uuid import UUID

import orjson
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine
from sqlmodel import Session

from argosy import crypto, sealing
from argosy.access import access_of
from argosy.client import Client
from argosy.errors import Conflict, NotConfigured
from argosy.settings import Settings
from argosy.shapes.clusters import ClusterFields
from argosy.shapes.shown import AlgorithmShape, ClusterShape
from argosy.store import registry, sealed
from tests.support.certificates import PEM
from tests.support.cli import Run, error, executable
from tests.support.queues import sql
from tests.support.readme import exported

TOKEN = "t0ken-of-the-user"


def with_new_keys(settings: Settings, *, former: bool) -> Settings:
    """Settings with new keys, and the former ones after them."""
    new = crypto.new_keys()
    assert settings.token_private_key is not None
    token_keys = [new["ARGOSY_TOKEN_PRIVATE_KEY"], *([settings.token_private_key.get_secret_value()] if former else [])]
    return settings.model_copy(
        update={
            "keys": [SecretStr(new["ARGOSY_KEYS"]), *(settings.keys if former else [])],
            "token_private_key": SecretStr(",".join(token_keys)),
            "token_public_key": new["ARGOSY_TOKEN_PUBLIC_KEY"],
        }
    )


def newest_only(settings: Settings) -> Settings:
    assert settings.token_private_key is not None
    token_key = settings.token_private_key.get_secret_value().partition(",")[0]
    return settings.model_copy(update={"keys": settings.keys[:1], "token_private_key": SecretStr(token_key)})


@pytest.fixture
def filled(client: Client, cluster: ClusterShape, algorithm: AlgorithmShape, argosy: Run) -> list[UUID]:
    """Something sealed of each kind; the gids of launches with a token."""
    argosy("token", "create", "nightly", "--user", "7", "--project", "1", "--platform-token-file", "-", input=TOKEN)
    return [client.launch(algorithm.name, project=1, user=7, media_ids=[1], token=TOKEN).gid for _ in range(120)]


def opened(engine: Engine, settings: Settings) -> set[str]:
    """What lies sealed, opened with these keys."""
    with Session(engine) as session:
        found = {access_of(each, settings).token for each in registry.clusters(session)}
    rows = sql(engine, "SELECT token_sealed AS sealed FROM argosy.launch UNION ALL SELECT sealed FROM argosy.api_token")
    return found | {crypto.open_token(bytes(row.sealed), settings.token_private_key) for row in rows}


@pytest.mark.parametrize("command", ["worker", "tracker", "api"])
@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ARGOSY_KEYS": ""}, "ARGOSY_KEYS is not set"),
        ({"ARGOSY_KEYS": "changeme"}, "ARGOSY_KEYS: each must be 32 bytes"),
        ({"ARGOSY_KEYS": crypto.new_keys()["ARGOSY_KEYS"]}, "ARGOSY_KEYS: none of the keys is the one"),
    ],
    ids=["missing", "none", "another's"],
)
def test_a_process_without_the_keys_does_not_begin_and_says_which_command_makes_them(
    argosy: Run, engine: Engine, settings: Settings, command: str, changed: Mapping[str, str], says: str
) -> None:
    sealing.check(engine, settings)
    line = error(argosy(command, env={"ARGOSY_AUTH": "tokens", **changed}), 1)
    assert line.startswith(says)
    assert "argosy keys" in line
    assert "changeme" not in line


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"ARGOSY_TOKEN_PRIVATE_KEY": "bm9uZQ=="}, "ARGOSY_TOKEN_PRIVATE_KEY: each key must be 32 bytes"),
        (crypto.new_keys() | {"ARGOSY_KEYS": None}, "ARGOSY_TOKEN_PRIVATE_KEY: none of the keys is the one"),
        (
            {"ARGOSY_TOKEN_PUBLIC_KEY": crypto.new_keys()["ARGOSY_TOKEN_PUBLIC_KEY"]},
            "ARGOSY_TOKEN_PUBLIC_KEY does not belong to",
        ),
    ],
    ids=["none", "another's", "no pair"],
)
def test_a_worker_without_the_keys_of_tokens_does_not_begin(
    argosy: Run, engine: Engine, settings: Settings, changed: dict[str, str | None], says: str
) -> None:
    sealing.check(engine, settings, tokens=True)
    line = error(argosy("worker", env={name: value for name, value in changed.items() if value}), 1)
    assert line.startswith(says)
    assert "argosy keys" in line


def test_everything_is_sealed_anew_and_the_former_keys_are_needed_no_longer(
    argosy: Run, engine: Engine, settings: Settings, filled: list[UUID]
) -> None:
    sealing.check(engine, settings, tokens=True)
    both = with_new_keys(settings, former=True)
    result = argosy("secrets", "rotate", "-o", "json", env=exported(both))
    assert (result.exit_code, orjson.loads(result.stdout)) == (0, {"resealed": 122, "broken": []})
    assert TOKEN in opened(engine, newest_only(both))
    assert len(opened(engine, newest_only(both))) == 2
    sealing.check(engine, newest_only(both), tokens=True)
    with pytest.raises(NotConfigured, match="none of the keys is the one"):
        sealing.check(engine, settings, tokens=True)
    again = argosy("secrets", "rotate", "-o", "json", env=exported(newest_only(both)))
    assert orjson.loads(again.stdout) == {"resealed": 0, "broken": []}


def test_a_rotation_that_is_killed_goes_on_where_it_was(
    argosy: Run, engine: Engine, settings: Settings, filled: list[UUID]
) -> None:
    both = with_new_keys(settings, former=True)
    environment = exported(both) | {"ARGOSY_FAILPOINTS": "secrets.resealing=kill@4"}
    killed = subprocess.run([executable(), "secrets", "rotate"], env=environment, capture_output=True, timeout=120)
    assert killed.returncode < 0
    assert opened(engine, both), "each row opens with one key or the other"
    older = sealing.survey(engine, both).older
    assert 0 < older < 122
    assert sealing.rotate(engine, both) == sealing.Rotated(older, [])
    assert TOKEN in opened(engine, newest_only(both))


def test_a_row_that_is_in_use_is_waited_for_and_holds_nobody_up(
    engine: Engine, settings: Settings, filled: list[UUID]
) -> None:
    both, held, go_on = with_new_keys(settings, former=True), Event(), Event()
    done: list[sealing.Rotated] = []
    with engine.begin() as other:
        other.exec_driver_sql("SELECT FROM argosy.launch WHERE gid = %s FOR UPDATE", (filled[0],))
        rotating = Thread(target=lambda: done.append(sealing.rotate(engine, both)))
        rotating.start()
        while sealing.survey(engine, both).older > 1:
            held.wait(0.05)
        assert sealing.survey(engine, both).older == 1
        go_on.set()
    rotating.join(60)
    assert done == [sealing.Rotated(122, [])]


def test_what_no_key_opens_is_named_and_hurts_itself_only(
    argosy: Run, client: Client, engine: Engine, settings: Settings, filled: list[UUID], valkey: str
) -> None:
    sql(engine, "UPDATE argosy.launch SET token_sealed = 'nonsense' WHERE gid = :gid", gid=filled[0])
    sql(engine, "UPDATE argosy.cluster SET token_sealed = '\\x80ff'::bytea")
    both = with_new_keys(settings, former=True)
    result = argosy("secrets", "rotate", env=exported(both))
    assert result.exit_code == 1
    assert f"launch {filled[0]}: no key opens its token" in result.stderr
    assert "cluster " in result.stderr
    assert "sealed anew: 120" in result.stderr
    told = argosy("doctor", env=exported(newest_only(both), ARGOSY_REDIS_URL=valkey)).stdout
    assert f"no key opens the token of launch {filled[0]}" in " ".join(told.split())
    for launch in client.launches(limit=1000):
        assert launch.state == "accepted"


def test_lost_keys_are_given_up_on_request_only(
    argosy: Run, engine: Engine, settings: Settings, filled: list[UUID]
) -> None:
    sealing.check(engine, settings, tokens=True)
    new = with_new_keys(settings, former=False)
    line = error(argosy("secrets", "rotate", env=exported(new)), 1)
    assert "argosy secrets rotate --lost" in line
    result = argosy("secrets", "rotate", "--lost", "-o", "json", env=exported(new))
    assert (result.exit_code, len(orjson.loads(result.stdout)["broken"])) == (1, 122)
    sealing.check(engine, new, tokens=True)


def test_every_column_with_a_seal_is_known_to_rotation(engine: Engine) -> None:
    found = sql(
        engine,
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'argosy' AND column_name LIKE '%sealed%'",
    )
    known = {(table.removeprefix("argosy."), column) for table, _, _, column, _ in sealed._PLACES.values()}
    assert {tuple(row) for row in found} == known


def test_two_rotations_at_once_are_one_and_the_other_says_so(
    engine: Engine, settings: Settings, filled: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With different keys each would take what the other has sealed for lost."""
    first, other = with_new_keys(settings, former=True), with_new_keys(settings, former=True)
    sealing.check(engine, settings, tokens=True)
    said: list[str] = []

    def meanwhile(name: str) -> None:
        monkeypatch.setattr(sealing, "failpoint", lambda name: None)
        for keys in (first, other):
            with pytest.raises(Conflict, match="another argosy secrets rotate is under way") as refused:
                sealing.rotate(engine, keys)
            said.append(str(refused.value))

    monkeypatch.setattr(sealing, "failpoint", meanwhile)
    assert sealing.rotate(engine, first) == sealing.Rotated(122, [])
    assert len(said) == 2
    with pytest.raises(NotConfigured, match="none of the keys is the one"):
        sealing.rotate(engine, other)
    assert sealing.rotate(engine, first) == sealing.Rotated(0, [])


def test_what_an_old_process_seals_during_a_rotation_is_sealed_anew_and_after_it_refused(
    client: Client, engine: Engine, settings: Settings, filled: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    sealing.check(engine, settings, tokens=True)
    both = with_new_keys(settings, former=True)
    writing: list[Future[ClusterShape]] = []
    survey, waits = (
        sealing.survey,
        "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
    )

    def late(at: Engine, keys: Settings) -> sealing.Survey:
        """The old process writes while the last look is taken."""
        if not writing:
            writing.append(beside.submit(client.add_cluster, **OTHER))
            while not sql(at, waits) and not writing[0].done():
                pass
        return survey(at, keys)

    monkeypatch.setattr(sealing, "survey", late)
    client.add_cluster(**OTHER | {"name": "before", "port": 2})
    with ThreadPoolExecutor(1) as beside:
        assert sealing.rotate(engine, both) == sealing.Rotated(123, [])
        assert isinstance(writing[0].exception(30), NotConfigured)
    with pytest.raises(NotConfigured, match="none of the keys is the one"):
        client.add_cluster(**OTHER)
    with pytest.raises(NotConfigured, match="none of the keys is the one"):
        client.update_cluster("before", token="other")
    client.update_cluster("before", max_active=3)
    assert survey(engine, newest_only(both)).broken == []


OTHER: ClusterFields = {"name": "late", "host": "127.0.0.1", "port": 1, "cert": PEM, "token": "late"}
