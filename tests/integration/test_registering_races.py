"""Two people who register the same at the same moment are told so in argosy's words, whoever wins."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from argosy.client import Client
from argosy.errors import ArgosyError, Conflict, NotFound
from argosy.store import registry
from tests.integration.races import meanwhile
from tests.support.certificates import PEM
from tests.support.launching import HELLO

ALGORITHM: dict[str, Any] = {"name": "hello", "project": 1, "user": 7, "manifest": HELLO, "files_per_job": 3}
CLUSTER: dict[str, Any] = {"name": "c", "host": "127.0.0.1", "port": 1, "cert": PEM, "token": "t"}


def test_of_two_who_register_one_name_at_once_one_is_told_of_the_other(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, both = registry.name_taken, Barrier(2, timeout=30)

    def look(*args: Any) -> bool:
        found = looked(*args)
        both.wait()  # neither writes before both have looked
        return found

    monkeypatch.setattr(registry, "name_taken", look)
    writes: tuple[Callable[[int], Any], ...] = (
        lambda _: client.register_algorithm(**ALGORITHM),
        lambda port: client.add_cluster(**CLUSTER | {"port": port}),
    )
    for write in writes:
        with ThreadPoolExecutor(2) as two:
            ended = [each.exception() for each in [two.submit(write, 1), two.submit(write, 2)]]
        (refused,) = filter(None, ended)
        assert isinstance(refused, Conflict)
        assert "somebody has registered the same just now" in str(refused)
    assert (len(client.algorithms()), len(client.clusters())) == (1, 1)


@pytest.mark.parametrize("change", ["update", "remove"])
async def test_an_algorithm_that_is_removed_while_it_is_changed_is_not_there(client: Client, change: str) -> None:
    client.register_algorithm(**ALGORITHM)
    write: Callable[[], Any] = {
        "update": lambda: client.update_algorithm("hello", description="new"),
        "remove": lambda: client.remove_algorithm("hello"),
    }[change]
    with pytest.raises(NotFound, match="algorithm 'hello' is not registered"):
        await meanwhile(client.engine, lambda other: other.execute(text("DELETE FROM argosy.algorithm")), write)


def test_a_retry_with_what_is_registered_now_beside_changes_says_what_it_met_in_argosys_words(client: Client) -> None:
    """Nothing else than argosy's errors comes out, however the two meet."""
    client.add_cluster(**CLUSTER, default=True)
    client.register_algorithm(**ALGORITHM)
    gid = client.launch("hello", project=1, user=7, media_ids=[1]).gid

    def again() -> None:
        client.remove_algorithm("hello")
        client.register_algorithm(**ALGORITHM)

    def tried(write: Callable[[], Any]) -> None:
        for _ in range(5):
            with suppress(ArgosyError):
                write()

    writes = (again, lambda: client.update_algorithm("hello", description="x"), lambda: client.retry(gid, latest=True))
    with ThreadPoolExecutor(3) as all_:
        for done in [all_.submit(tried, write) for write in writes]:
            done.result(60)
