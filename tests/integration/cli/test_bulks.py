"""`argosy bulk`: count, ask, act, report."""

import re
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Engine

from argosy.client import Client
from argosy.launch.expand import Launching
from argosy.states import State
from tests.support.cli import Run, error
from tests.support.jobs import launched, registered, run, stage, statuses
from tests.support.launching import HELLO

__all__ = ["registered", "stage"]


@pytest.fixture
def gid(registered: Client, stage: Launching) -> UUID:
    return launched(registered, stage, 3)


def test_nothing_is_done_without_a_filter_or_a_word_of_consent(argosy: Run, registered: Client, gid: UUID) -> None:
    assert "say which jobs" in error(argosy("bulk", "cancel", "--yes"), 2)
    assert "Cancel 3 jobs (3 Queued)? Say --yes" in error(argosy("bulk", "cancel", "--gid", str(gid)), 2)
    assert "--status:" in error(argosy("bulk", "cancel", "--status", "faild", "--yes"), 2)
    assert "--all-projects" in error(argosy("bulk", "cancel", "--project", "1", "--all-projects", "--yes"), 2)
    assert statuses(registered, gid) == ["Queued"] * 3
    none = argosy("bulk", "retry", "--gid", str(gid), "--yes")
    assert (none.exit_code, none.stdout) == (0, "")
    assert "no job fits" in none.stderr


def test_what_fits_is_given_a_priority_then_cancelled_then_retried_and_each_is_told(
    argosy: Run, registered: Client, engine: Engine, gid: UUID
) -> None:
    ordered = argosy("bulk", "priority", "5", "--project", "1", "--yes")
    assert re.search(r"^done +3 have priority 5$", ordered.stdout, re.MULTILINE), ordered.output
    run(engine, State.FAILED, 1)
    done = argosy("bulk", "cancel", "--all-projects", "--yes")
    assert re.search(r"^chosen +2 jobs \(2 Queued\)$", done.stdout, re.MULTILINE)
    assert re.search(r"^state +done$", done.stdout, re.MULTILINE)
    bulk = argosy("bulk", "retry", "--gid", str(gid), "--status", "Cancelled", "--yes", "-o", "name").stdout.strip()
    assert statuses(registered, gid) == ["Failed", "Queued", "Queued"]
    shown = orjson.loads(argosy("bulk", "show", bulk, "-o", "json").stdout)
    assert (shown["verb"], shown["state"], shown["done"]) == ("retry", "done", 2)
    assert "--priority" not in argosy("bulk", "act", bulk).stdout, "again does nothing twice"
    assert registered.get(registered.list(gid=gid)[1].uid).attempt == 2
    assert "is not the id of work" in error(argosy("bulk", "show", str(gid)), 1)


def test_what_failed_is_retried_with_what_is_registered_now(
    argosy: Run, registered: Client, engine: Engine, gid: UUID
) -> None:
    run(engine, State.FAILED, 3)
    asked = error(argosy("bulk", "retry", "--latest", "--gid", str(gid)), 2)
    assert "Retry 3 jobs (3 Failed) with what is registered now? Say --yes" in asked
    registered.update_algorithm("hello", manifest=HELLO.replace("hello-", "mended-"))
    done = argosy("bulk", "retry", "--latest", "--gid", str(gid), "--yes")
    assert re.search(r"^done +3 queued again, with what is registered now$", done.stdout, re.MULTILINE), done.output
    assert registered.outdated(gid) is None, "they run what is registered"


def test_with_what_it_was_not_done_is_told_with_the_reason(
    argosy: Run, registered: Client, engine: Engine, gid: UUID
) -> None:
    run(engine, State.FAILED)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE argosy.launch SET token_wiped = true, token_sealed = NULL")
    refused = argosy("bulk", "retry", "--failed", "--yes")
    assert "none of 3 jobs is done" in refused.stderr
    assert refused.exit_code == 1
    assert re.search(r"^not done +3$", refused.stdout, re.MULTILINE)
    assert refused.stdout.count("give it again") == 3
