"""A mail as callers specify it, in the shape of the REST reference. Pure.

What becomes a header is one printable line, and an address has the plain form only: a line end in a subject, a name or an address would add
headers, or recipients, that nobody checked (T30). So would an encoded word (`=?utf-8?q?=0A…?=`), which is printable: the standard library
decodes it and then writes its line end.
"""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from argosy.inputs import clean

RECIPIENTS_MOST = 50
"""Of one mail."""

_ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@"
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
"""An address without quotes, comments and letters beyond ASCII, which not every server takes."""


_ENCODED = "=?"
"""How an encoded word begins."""


def split_recipient(text: str) -> tuple[str, str]:
    """Name and address of a recipient: `Name <mail>`, `Name mail` or `mail`; the name is empty where there is none.

    Raises:
        ValueError: It is none of these.
    """
    text = _header(text.strip())
    name, _, address = text[:-1].rpartition("<") if text.endswith(">") else text.rpartition(" ")
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == '"':
        name = name[1:-1]
    if not _ADDRESS.fullmatch(address) or len(address) > 254 or len(address.partition("@")[0]) > 64:
        raise ValueError("must be Name <mail@example.org> or mail@example.org")
    if not name.isprintable() or len(name) > 100 or any(mark in name for mark in '<>@"\\'):
        raise ValueError('the name before the address must be 100 printable characters at most, without < > @ " and \\')
    local, _, domain = address.rpartition("@")
    return name, f"{local}@{domain.lower()}"


def _recipient(value: str) -> str:
    split_recipient(value)
    return value


def _line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds a line end or another character that a mail's header cannot hold")
    return value


def _header(value: str) -> str:
    if _ENCODED in value:
        raise ValueError(f"holds {_ENCODED}, which begins an encoded word; write the characters themselves")
    return value


def _text(value: str) -> str:
    value = value.replace("\r\n", "\n")
    if clean(value, limit=len(value) + 1) != value:
        raise ValueError("holds a control character, or half a character (a lone surrogate)")
    return value


def _file(value: str) -> str:
    if "/" in value or "\\" in value:
        raise ValueError("is a file's name, without a path")
    return value


Line = Annotated[str, AfterValidator(_line)]
Header = Annotated[Line, AfterValidator(_header)]
Recipient = Annotated[Line, Field(max_length=400), AfterValidator(_recipient)]


class EmailAttachmentSpec(BaseModel):
    """A file to attach: the key of an object in the platform's store, and the name that it gets."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[Line, Field(min_length=1, max_length=1024)]
    name: Annotated[Header, Field(min_length=1, max_length=200), AfterValidator(_file)]


class EmailSpec(BaseModel):
    """A mail: `recipients` as "Name <mail>" or "mail", plain text, and objects of the platform's store to attach."""

    model_config = ConfigDict(extra="forbid")

    recipients: Annotated[list[Recipient], Field(min_length=1, max_length=RECIPIENTS_MOST)]
    subject: Annotated[Header, Field(max_length=250)]
    text: Annotated[str, Field(max_length=100_000), AfterValidator(_text)]
    attachments: Annotated[list[EmailAttachmentSpec], Field(max_length=10)] | None = None

    def people(self) -> dict[str, str]:
        """Each address once, and the name that it was given with."""
        return {address: name for name, address in map(split_recipient, reversed(self.recipients))}
