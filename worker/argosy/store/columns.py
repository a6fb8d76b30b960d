"""Functions that make the columns of the tables. A column is NOT NULL unless its function says otherwise, and its default is in the
database too."""

from typing import Any

from sqlalchemy import Boolean, Column, DateTime, Float, Integer, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field


def made_at() -> Any:
    """When the row was inserted."""
    return Field(sa_column=Column(DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()))


def time() -> Any:
    """A time, or none yet."""
    return Field(default=None, sa_column=Column(DateTime(timezone=True)))


def string(default: str = "") -> Any:
    """Text."""
    return Field(default=default, sa_column=Column(Text, nullable=False, server_default=default))


def key() -> Any:
    """A key that the database assigns on insert."""
    return Field(default=None, primary_key=True)


def integer(default: int) -> Any:
    """A number."""
    return Field(default=default, sa_column=Column(Integer, nullable=False, server_default=str(default)))


def seconds(default: float) -> Any:
    """Seconds."""
    return Field(default=default, sa_column=Column(Float, nullable=False, server_default=str(default)))


def maybe_seconds() -> Any:
    """Seconds, or no bound."""
    return Field(default=None, sa_column=Column(Float))


def mapping() -> Any:
    """A JSON object; empty by default."""
    return Field(default_factory=dict, sa_column=Column(JSONB, nullable=False, server_default="{}"))


def flag(default: bool) -> Any:
    """True or false."""
    return Field(default=default, sa_column=Column(Boolean, nullable=False, server_default=str(default).lower()))
