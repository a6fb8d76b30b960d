"""When a token ends, as it says itself; and what may be asked for one."""

import os
import threading
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from argosy.errors import InvalidRequest, NotConfigured
from argosy.kube import granting, tokens
from argosy.kube.answers import ClusterDown
from argosy.kube.tokens import Renewed, TokenProvider, expires


def jwt(claims: object) -> str:
    return f"h.{urlsafe_b64encode(orjson.dumps(claims)).decode().rstrip('=')}.s"


def test_a_token_says_when_it_ends() -> None:
    assert expires(jwt({"exp": 1796860800})) == datetime(2026, 12, 10, tzinfo=UTC)


@pytest.mark.parametrize("claims", [{}, {"exp": "soon"}, [], {"exp": None}, 7])
def test_a_token_that_does_not_say_when_it_ends(claims: object) -> None:
    assert expires(jwt(claims)) is None


@pytest.mark.parametrize("token", ["", "opaque", "a.b.c", "a.%%.c", "é.é.é", jwt({"exp": 10**18})])
def test_any_other_token_is_no_fault(token: str) -> None:
    assert expires(token) is None or expires(token) == datetime(9999, 1, 1, tzinfo=UTC)


def test_only_what_the_settings_permit_is_run_or_read(tmp_path: Path) -> None:
    TokenProvider(command=("aws", "eks"), allowed=("aws",)).check()
    TokenProvider(file=str(tmp_path / "token"), directory=str(tmp_path)).check()
    for source in (
        TokenProvider(command=("aws", "eks")),
        TokenProvider(command=("/tmp/aws",), allowed=("aws",)),
        TokenProvider(file=str(tmp_path / "token")),
        TokenProvider(file=str(tmp_path / ".." / "token"), directory=str(tmp_path)),
        TokenProvider(file="/etc/passwd", directory=str(tmp_path)),
    ):
        with pytest.raises(NotConfigured):
            source.check()


def test_what_is_granted_is_the_file_itself_and_without_logs_two_objects_less() -> None:
    whole = granting.manifest(granting.Grant())
    assert whole == granting._SOURCE.read_text()
    without = granting.manifest(granting.Grant(logs=False))
    assert "pods/log" in whole
    assert "pods/log" not in without
    assert whole.count("\n---\n") - without.count("\n---\n") == 2


@pytest.mark.parametrize("name", ['x"\n---\nkind: Pod', "A", "", "a_b", "-a"])
def test_a_name_that_could_add_objects_is_refused(name: str) -> None:
    for grant in (
        granting.Grant(namespace=name),
        granting.Grant(secrets=(name,)),
        granting.Grant(artifact_secrets=(name,)),
    ):
        with pytest.raises(InvalidRequest):
            granting.manifest(grant)


async def test_a_file_that_hangs_holds_up_nobody_for_long_and_is_read_once_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "_LONGEST", 0.1)
    monkeypatch.setattr(tokens, "_AGAIN", 0.0)
    os.mkfifo(file := tmp_path / "token")
    renewed = Renewed(TokenProvider(file=str(file), directory=str(tmp_path)))
    for _ in range(3):
        with pytest.raises(ClusterDown, match="not done after"):
            await renewed.get()
    assert [thread.name for thread in threading.enumerate()].count("token") == 1
    monkeypatch.setattr(tokens, "_LONGEST", 30.0)
    file.write_text("fresh")
    assert await renewed.get() == "fresh"
    file.unlink()
    monkeypatch.setattr(tokens, "_READ", 0.0)
    renewed.refused()
    with pytest.raises(ClusterDown, match="is not there"):
        await renewed.get()
    file.write_text("newer")
    assert await renewed.get() == "newer"
