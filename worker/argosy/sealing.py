"""Keys that change while argosy runs, and rows that no key opens.

A process whose keys are not those of this installation would reject every launch and lose every cluster. So it refuses to begin: the
database has a mark that the newest key has sealed. A row that no key opens is then that row's own fault, and hurts its launch or its
cluster only.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, Engine

from argosy.crypto import KeyRing, Ring, TokenRing
from argosy.errors import Conflict, NotConfigured, SealBroken
from argosy.failpoints import failpoint
from argosy.settings import Settings
from argosy.store import sealed
from argosy.store.sealed import KeyMarks, Kind, Sealed

_MARK = "argosy"
"""What the newest key has sealed."""

_ROUNDS, _PAUSE = 30, 1.0
"""How often rows that others have locked are looked for again, and seconds between."""


@dataclass(frozen=True)
class Survey:
    """What lies sealed: how much by older keys, and where what no key opens is, each as (kind, name). `unseen` are kinds whose keys this
    process does not have."""

    older: int
    broken: list[tuple[Kind, str]]
    unseen: list[Kind]


@dataclass(frozen=True)
class Rotated:
    """How many secrets were sealed anew, and what no key opens, each as (kind, name)."""

    resealed: int
    broken: list[tuple[Kind, str]]


def check(engine: Engine, settings: Settings, tokens: bool = False, first: bool = True) -> None:
    """Check that this process has the keys of this installation; the first process that has keys says which they are.

    Args:
        engine: Where the mark is.
        settings: The keys.
        tokens: Whether it needs those that open launch tokens.
        first: Whether it says which they are, if no process has said so yet.

    Raises:
        NotConfigured: They are missing, or none, or those of another installation.
    """
    ring = KeyRing(settings.keys)
    token_ring = TokenRing(settings.token_private_key) if tokens else None
    if token_ring and settings.token_public_key not in (None, *token_ring.public_keys):
        raise NotConfigured(
            "ARGOSY_TOKEN_PUBLIC_KEY does not belong to ARGOSY_TOKEN_PRIVATE_KEY; set both keys of one pair, made with: argosy keys"
        )
    with engine.begin() as connection:
        found = sealed.mark(connection, _marks(ring, token_ring)) if first else sealed.marks(connection)
    if found.keys_mark is not None and _stands(ring, found.keys_mark) is None:
        raise NotConfigured(f"ARGOSY_KEYS: {_UNKNOWN}")
    if token_ring and found.token_key is not None and found.token_key not in token_ring.public_keys:
        raise NotConfigured(f"ARGOSY_TOKEN_PRIVATE_KEY: {_UNKNOWN}")


_UNKNOWN = (
    "none of the keys is the one with which this installation seals; set the keys that its other processes have, or add the former key at "
    "the end and run argosy secrets rotate (where it is lost: argosy secrets rotate --lost). Only a new installation makes keys, with: "
    "argosy keys"
)


def rotate(engine: Engine, settings: Settings, lost: bool = False) -> Rotated:
    """Seal everything anew with the newest keys, some rows in each transaction, while processes run. Interrupted, it goes on when it is
    called again.

    Args:
        engine: Where the rows are.
        settings: The keys, the former ones last.
        lost: The former keys are lost: seal with the newest from now on, and leave what they have sealed.

    Raises:
        NotConfigured: Keys are missing, or none of them is the one with which this installation seals.
        Conflict: Another rotation is under way, or rows were locked by others all the time; run it again.
    """
    with sealed.alone(engine) as alone:
        if not alone:
            raise Conflict("another argosy secrets rotate is under way; run it again when that has ended")
        if not lost:
            check(engine, settings, tokens=True)
        return _rotate(engine, settings)


def _rotate(engine: Engine, settings: Settings) -> Rotated:
    ring, token_ring = KeyRing(settings.keys), TokenRing(settings.token_private_key)
    rings: dict[Kind, Ring] = {
        Kind.CLUSTER: ring,
        Kind.LAUNCH: token_ring,
        Kind.API_TOKEN: token_ring,
        Kind.MAIL: token_ring,
    }
    count = 0
    for number in range(_ROUNDS):
        count += sum(_reseal(engine, kind, rings[kind]) for kind in Kind)
        # A second look: others may have locked a row, or written one with a seal from before.
        with engine.begin() as connection:
            sealed.hold(connection, shared=False)
            found = survey(engine, settings)
            if not found.older:
                sealed.remark(connection, _marks(ring, token_ring))
                return Rotated(count, found.broken)
        time.sleep(_PAUSE if number else 0)
    raise Conflict(f"{count} were sealed anew, and {found.older} rows are in use all the time; run it again")


def hold(connection: Connection, settings: Settings) -> None:
    """Check, in the transaction that writes what this process has sealed with `ARGOSY_KEYS`, that its keys are still this installation's: a
    process that was not restarted for a rotation would seal with a key that is thrown away afterwards.

    Raises:
        NotConfigured: They are not.
    """
    found = sealed.hold(connection, shared=True)
    if found.keys_mark is not None and _stands(KeyRing(settings.keys), found.keys_mark) is None:
        raise NotConfigured(f"ARGOSY_KEYS: {_UNKNOWN}")


def survey(engine: Engine, settings: Settings) -> Survey:
    """Look at everything that lies sealed.

    Raises:
        NotConfigured: `ARGOSY_KEYS` cannot be used.
    """
    rings: dict[Kind, Ring] = {Kind.CLUSTER: KeyRing(settings.keys)}
    if settings.token_private_key is not None:
        rings |= dict.fromkeys((Kind.LAUNCH, Kind.API_TOKEN, Kind.MAIL), TokenRing(settings.token_private_key))
    older, broken = 0, []
    for kind, ring in rings.items():
        for row in _rows(engine, kind):
            stands = _stands(ring, row.secret)
            older += stands is False
            broken += [(kind, row.name)] if stands is None else []
    return Survey(older, broken, [kind for kind in Kind if kind not in rings])


def _rows(engine: Engine, kind: Kind) -> Iterator[Sealed]:
    last = None
    while True:
        with engine.connect() as connection:
            page = sealed.page(connection, kind, last)
        yield from page
        if not page:
            return
        last = page[-1]


def _reseal(engine: Engine, kind: Kind, ring: Ring) -> int:
    """Seal rows of one kind anew. Returns how many."""
    count, last = 0, None
    while True:
        with engine.begin() as connection:
            page = sealed.page(connection, kind, last, locked=True)
            for row in page:
                if _stands(ring, row.secret) is False:
                    sealed.reseal(connection, row, ring.seal(ring.open(row.secret)))
                    count += 1
            failpoint("secrets.resealing")
        if not page:
            return count
        last = page[-1]


def _stands(ring: Ring, secret: bytes) -> bool | None:
    """Whether the newest key has sealed it; None if no key opens it."""
    if ring.newest(secret):
        return True
    try:
        ring.open(secret)
    except SealBroken:
        return None
    return False


def _marks(ring: KeyRing, token_ring: TokenRing | None) -> KeyMarks:
    return KeyMarks(ring.seal(_MARK), token_ring.public_keys[0] if token_ring else None)
