"""Turns command-line values into the client's arguments: files, media, parameters.

A mistake in an argument is found before anything is opened or sent, and the message names the option.
"""

import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from argosy.cli.boundary import UsageError
from argosy.cli.session import client

MEDIA_MAX = 5_000_000
"""The most ids in one command, so that a typing mistake like 1-9999999999 does not fill the memory."""

STANDARD_INPUT = Path("-")

_RUN = re.compile(r"(\d+)(?:-(\d+))?")
_SPAN = re.compile("([0-9]{1,6})([smhd])", re.ASCII)
_SPANS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SEPARATOR = re.compile(r"[\s,]+")


def media(text: str, option: str = "--media") -> list[int]:
    """Media ids from `1,2,5-9`, in their order; commas and white space separate.

    Args:
        text: The ids.
        option: The option that has them, for the message.

    Raises:
        UsageError: A part is neither an id nor a range, or there are none, or too many.
    """
    found: list[range] = []
    total = 0
    for part in filter(None, _SEPARATOR.split(text)):
        run = _RUN.fullmatch(part) if part.isascii() and len(part) <= 39 else None
        if run is None:
            raise UsageError(f"{option}: {part[:40]!r} is neither a media id nor a range; write 1,2,5-9")
        first, last = int(run[1]), int(run[2] or run[1])
        if last < first:
            raise UsageError(f"{option}: the range {part!r} ends before it begins")
        total += last - first + 1
        if total > MEDIA_MAX:
            raise UsageError(f"{option}: more than {MEDIA_MAX:,} media; launch on fewer at a time")
        found.append(range(first, last + 1))
    if not found:
        raise UsageError(f"{option}: no media id given; leave the option out for all media of the project")
    return list(chain.from_iterable(found))


def identifier(text: str) -> UUID:
    """The id of a job or a launch; of a job also GID/17. Instead of a whole id its first letters will do, eight or more, or the name of a
    workflow or pod: then the database is asked.

    Raises:
        InvalidRequest: It is none, or several begin so.
        NotFound: Nothing begins so.
    """
    try:
        return UUID(text)
    except ValueError:
        with client(remind=False) as opened:
            return opened.resolve(text)


def moment(text: str, option: str, now: datetime) -> datetime:
    """A time, from how long ago it was (90m, 12h, 7d) or from ISO 8601; without a zone it is the time at this place.

    Raises:
        UsageError: It is neither.
    """
    if span := _SPAN.fullmatch(text):
        return now - timedelta(**{_SPANS[span[2]]: int(span[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option} {text[:40]!r}: write how long ago, as 90m, 12h or 7d, or a time, as 2026-11-29T14:30"
        ) from None


def parameters(pairs: Sequence[str]) -> list[dict[str, str]]:
    """Parameters from NAME=VALUE each.

    Raises:
        UsageError: One has no name or no `=`.
    """
    found = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--param {pair!r}: write NAME=VALUE")
        found.append({"name": name, "value": value})
    return found


def labels(pairs: Sequence[str], option: str) -> dict[str, str]:
    """Labels from NAME=VALUE each.

    Raises:
        UsageError: One has no name or no `=`.
    """
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {pair!r}: write NAME=VALUE")
        found[name] = value
    return found


def contents(file: Path, what: str) -> str:
    """A file's text; `-` is standard input.

    Args:
        file: Which.
        what: The option or argument, for the message.

    Raises:
        UsageError: It cannot be read, or is not UTF-8 text.
    """
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
        return data.decode()
    except OSError as error:
        raise UsageError(f"{what}: {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{what}: {file} is not UTF-8 text (byte {error.start})") from error


def mapping(file: Path, what: str) -> dict[str, Any]:
    """A mapping from a file of YAML.

    Raises:
        UsageError: It cannot be read, or is not a mapping.
    """
    import yaml

    try:
        found = yaml.safe_load(contents(file, what))
    except yaml.YAMLError as error:
        raise UsageError(f"{what}: {file}: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{what}: {file} holds no mapping; write NAME: VALUE lines")
    return {str(key): value for key, value in found.items()}


def secret(file: Path, what: str) -> str:
    """A token from a file, without the line end.

    Raises:
        UsageError: It cannot be read or is empty.
    """
    found = contents(file, what).strip()
    if not found:
        raise UsageError(f"{what}: {file} is empty")
    return found


def token(file: Path, what: str) -> str:
    """A cluster's token from a file.

    Raises:
        UsageError: It cannot be read, is empty, or holds something else.
    """
    found = secret(file, what)
    if "-----BEGIN" in found:
        raise UsageError(f"{what}: {file} holds a certificate or a key, not a token; a CA goes into --ca-file")
    if "apiVersion:" in found:
        raise UsageError(
            f"{what}: {file} holds Kubernetes objects, not a token; a kubeconfig goes into --from-kubeconfig"
        )
    if len(found.split()) > 1:
        raise UsageError(f"{what}: {file} holds no token: a token has no blanks and is one line")
    return found


def certificates(file: Path, what: str) -> str:
    """CA certificates from a file.

    Raises:
        UsageError: It cannot be read, is empty, or holds something else.
    """
    found = contents(file, what)
    if not found.strip():
        raise UsageError(f"{what}: {file} is empty")
    if "PRIVATE KEY-----" in found:
        raise UsageError(f"{what}: {file} holds a private key; give the certificate of the CA alone")
    if "-----BEGIN CERTIFICATE-----" not in found:
        raise UsageError(f"{what}: {file} holds no certificate; write it as PEM, from -----BEGIN CERTIFICATE----- on")
    return found


def command(text: str, what: str) -> list[str]:
    """A command and its arguments, quoted as in a shell; none runs it.

    Raises:
        UsageError: It has no command, or a quote is not closed.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{what}: {error}".lower()) from error
    if not words:
        raise UsageError(f"{what}: names no command")
    return words


def confirmed(question: str, yes: bool) -> None:
    """Have a person confirm what cannot be undone.

    Args:
        question: What is about to happen, as a question.
        yes: Whether --yes was given.

    Raises:
        UsageError: Nobody is there to be asked.
        Abort: The answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Say --yes; nobody is there to be asked")
    typer.confirm(question, abort=True, err=True)


def one_of(**given: object) -> None:
    """Check that at most one of these options is given.

    Raises:
        UsageError: More were given.
    """
    names = [f"--{name.replace('_', '-')}" for name, value in given.items() if value not in (None, False)]
    if len(names) > 1:
        raise UsageError(f"give only one of {' and '.join(names)}")


Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
"""The option of commands that ask."""


def one_input(*files: tuple[str, Path | None]) -> None:
    """Check that at most one of these files is standard input.

    Raises:
        UsageError: More are.
    """
    names = [name for name, file in files if file == STANDARD_INPUT]
    if len(names) > 1:
        raise UsageError(f"only one of {' and '.join(names)} can be read from standard input")
