"""`argosy dead-letters`: messages that were put aside, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from argosy.cli import arguments, output
from argosy.cli.arguments import Yes
from argosy.cli.commands import App
from argosy.cli.output import Column, Format, Output
from argosy.cli.session import client, configured
from argosy.cli.text import cut, plain
from argosy.cli.times import Time, ago
from argosy.errors import NotConfigured

if TYPE_CHECKING:
    from argosy.processes.letters import DeadLetter
    from argosy.processes.wakeups import Broker

app = App(help="Messages that were put aside, because no retry could help.")

_Ids = Annotated[
    list[str], typer.Argument(help="Ids of messages, as `argosy dead-letters list` shows them.", metavar="ID…")
]


@app.command("list")
def list_(output_format: Output = Format.TABLE, _time: Time = None) -> None:
    """List the dead letters of all queues, with the reason of each. Redis keeps them for a week."""
    from argosy.processes.letters import letters

    with _redis() as broker:
        output.show(list(letters(broker)), output_format, columns=_COLUMNS, name=lambda letter: letter.id)


@app.command()
def show(
    message: Annotated[str, typer.Argument(help="Id of a message.", metavar="ID")],
    output_format: Output = Format.TABLE,
    _time: Time = None,
) -> None:
    """Show one dead letter: the reason, and the message as it came."""
    from argosy.processes.letters import letter

    with _redis() as broker:
        found = letter(broker, message)
    if output.structured(output_format):
        output.data(output.dump(found), output_format)
        return
    facts = {
        "id": found.id,
        "queue": found.queue,
        "put aside": ago(found.at, datetime.now(UTC)),
        "reason": found.reason,
    }
    output.facts(facts | ({"launch": str(found.gid)} if found.gid else {}) | {"message": found.message})


@app.command()
def retry(messages: _Ids) -> None:
    """Put dead letters back into their queues, for example after an upgrade that understands them."""
    from argosy.processes import letters
    from argosy.store.requests import forget_refused

    with _redis() as broker, client() as opened:
        for found in [letters.letter(broker, message) for message in messages]:
            if found.gid is not None:
                with opened.engine.begin() as connection:
                    forget_refused(connection, found.gid)
            letters.retry(broker, found)
            output.note(f"{plain(found.id)} is in queue {found.queue} again")


@app.command()
def drop(messages: _Ids, yes: Yes = False) -> None:
    """Forget dead letters. The launches that they asked for are never made."""
    from argosy.processes import letters

    with _redis() as broker:
        found = [letters.letter(broker, message) for message in messages]
        arguments.confirmed(f"Forget {len(found)} message{'' if len(found) == 1 else 's'}?", yes)
        for each in found:
            letters.drop(broker, each)


@contextmanager
def _redis() -> Iterator[Broker]:
    from redis.exceptions import RedisError

    from argosy.processes.wakeups import broker, words_of

    made = broker(configured())
    try:
        yield made
    except RedisError as error:
        raise NotConfigured(f"Redis: {words_of(error)}; check ARGOSY_REDIS_URL, and that it answers there") from error
    finally:
        made.client.close()


_COLUMNS: list[Column[DeadLetter]] = [
    Column("ID", lambda letter, _: letter.id),
    Column("QUEUE", lambda letter, _: letter.queue),
    Column("AGE", lambda letter, now: ago(letter.at, now), by_clock="PUT-ASIDE"),
    Column("LAUNCH", lambda letter, _: "" if letter.gid is None else str(letter.gid), wide=True),
    Column("REASON", lambda letter, _: cut(letter.reason, 200)),
]
