"""What an installation needs, looked at from here: the settings of this process, its database, Redis, keys, clock, clusters and processes.

Each check is one function of the list `CHECKS`. It changes nothing, asks no cluster, and needs no process that runs. While the database
cannot be read, the checks that read it are skipped, so that the report says what to mend first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from redis.exceptions import RedisError
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from argosy import sealing
from argosy.crypto import KeyRing, open_token, seal_token
from argosy.errors import NotAllowed, NotConfigured, SealBroken
from argosy.loops import reason_of
from argosy.processes.wakeups import broker, words_of
from argosy.settings import Settings
from argosy.store import database, processes, registry, schema
from argosy.store.processes import TRACKER, WORKER
from argosy.store.sealed import Kind

_SKEW = 5.0
"""Seconds that the clock of this host may differ from the database's."""

_LEAST = 14
"""The oldest PostgreSQL."""


class CheckState(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it."""

    check: str
    state: CheckState
    text: str
    do: str = ""


@dataclass(frozen=True)
class Patient:
    """What checks look at. `engine` is of a database that answers and has the schema; None if there is no such."""

    settings: Settings
    engine: Engine | None

    def read(self) -> Connection:
        """A connection to the database; only for checks that need it."""
        assert self.engine is not None  # noqa: S101 -- checks that need it are skipped
        return self.engine.connect()


@dataclass(frozen=True)
class Check:
    """A check, by the name that its findings have; `reads` if it needs the database."""

    name: str
    look: Callable[[Patient], Iterator[Finding]]
    reads: bool = True


def examine(settings: Settings) -> Sequence[Finding]:
    """Run all checks.

    Args:
        settings: Of this process.
    """
    found: list[Finding] = []
    engine = None
    try:
        engine = database.engine(settings, pool_size=1)
        found += _database(engine)
    except NotConfigured as error:
        found.append(Finding("database", CheckState.FAILED, str(error)))
    readable = all(finding.state is not CheckState.FAILED for finding in found)
    patient = Patient(settings, engine if readable else None)
    for check in CHECKS:
        if check.reads and not readable:
            found.append(Finding(check.name, CheckState.SKIPPED, "the database cannot be read"))
        else:
            found += _looked(check, patient)
    if engine is not None:
        engine.dispose()
    return found


def _looked(check: Check, patient: Patient) -> Iterator[Finding]:
    """What a check finds; that the database refuses it is a finding, too."""
    try:
        yield from check.look(patient)
    except NotAllowed as error:
        yield Finding(check.name, CheckState.FAILED, str(error))
    except DBAPIError as error:
        yield Finding(check.name, CheckState.FAILED, str(error.orig), "see what the user in ARGOSY_DATABASE_URL may do")


# Of the server that answers.
_SERVER = text(
    "SELECT current_setting('server_version'), current_setting('server_version_num')::int / 10000, "
    "current_setting('transaction_read_only')::bool"
)


def _database(engine: Engine) -> Iterator[Finding]:
    try:
        with engine.connect() as connection:
            version, major, reads = connection.execute(_SERVER).one()
    except OperationalError as error:
        yield Finding(
            "database",
            CheckState.FAILED,
            reason_of(error),
            "check ARGOSY_DATABASE_URL and that PostgreSQL answers there",
        )
        return
    if reads:
        do = "let ARGOSY_DATABASE_URL lead to the primary, or free its disk"
        yield Finding("database", CheckState.FAILED, "this server only reads: it is a standby, or was set so", do)
        return
    if major < _LEAST:
        yield Finding("database", CheckState.FAILED, f"PostgreSQL {version}", f"argosy needs {_LEAST} or newer")
    yield Finding("database", CheckState.OK, f"PostgreSQL {version}")
    try:
        schema.check(engine)
    except NotConfigured as error:
        yield Finding("schema", CheckState.FAILED, str(error))
        return
    with engine.connect() as connection:
        yield Finding("schema", CheckState.OK, f"at {schema.revision(connection)}, this argosy knows {schema.NEWEST}")


_NOW = text("SELECT clock_timestamp()")


def _clock(patient: Patient) -> Iterator[Finding]:
    with patient.read() as connection:
        before = datetime.now(UTC)
        there = connection.execute(_NOW).scalar_one()
        after = datetime.now(UTC)
    ahead = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    if ahead <= _SKEW:
        yield Finding("clock", CheckState.OK, "that of this host agrees with the database's")
        return
    words = f"that of this host is {ahead:.0f} s {'ahead of' if before > there else 'behind'} the database's"
    yield Finding(
        "clock", CheckState.FAILED, words, "set both by NTP; gids are refused and certificates fail where clocks differ"
    )


def _redis(patient: Patient) -> Iterator[Finding]:
    try:
        asked = broker(patient.settings)
        version = asked.client.info("server").get("redis_version", "")
        asked.ask()
    except NotConfigured as error:
        yield Finding("Redis", CheckState.FAILED, str(error))
    except RedisError as error:
        yield Finding(
            "Redis",
            CheckState.FAILED,
            words_of(error),
            "check ARGOSY_REDIS_URL, and that Redis or Valkey answers there and can be written to",
        )
    else:
        yield Finding("Redis", CheckState.OK, f"answers, version {version}")


def _keys(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    try:
        KeyRing(settings.keys)
    except NotConfigured as error:
        yield Finding("keys", CheckState.FAILED, str(error))
    else:
        yield Finding("keys", CheckState.OK, f"ARGOSY_KEYS has {len(settings.keys)}, the first one seals")


def _token_keys(patient: Patient) -> Iterator[Finding]:
    settings = patient.settings
    if settings.token_public_key is None:
        words = "ARGOSY_TOKEN_PUBLIC_KEY is not set: launches have no token here"
        yield Finding("token keys", CheckState.WARNING, words, "argosy keys makes a pair")
        return
    try:
        sealed = seal_token("try", settings.token_public_key)
        if settings.token_private_key is not None:
            open_token(sealed, settings.token_private_key)
    except (NotConfigured, SealBroken) as error:
        yield Finding("token keys", CheckState.FAILED, str(error), "set both keys of one pair: argosy keys")
        return
    has = (
        "the pair fits"
        if settings.token_private_key is not None
        else "the public key can be used; workers need the other one"
    )
    yield Finding("token keys", CheckState.OK, has)


def _sealed(patient: Patient) -> Iterator[Finding]:
    engine, settings = patient.engine, patient.settings
    assert engine is not None  # noqa: S101 -- this check is skipped without it
    try:
        sealing.check(engine, settings, tokens=settings.token_private_key is not None, first=False)
        found = sealing.survey(engine, settings)
    except NotConfigured as error:
        yield Finding("sealed", CheckState.FAILED, str(error))
        return
    for kind, name in found.broken[:_SHOWN]:
        yield Finding(
            "sealed", CheckState.WARNING, f"no key opens the token of {kind} {name}", _AGAIN[kind].format(name)
        )
    if len(found.broken) > _SHOWN:
        yield Finding("sealed", CheckState.WARNING, f"nor those of {len(found.broken) - _SHOWN} others")
    if found.older:
        words = f"{found.older} secrets are sealed by an older key"
        yield Finding("sealed", CheckState.WARNING, words, "argosy secrets rotate, and then remove it")
    if found.unseen:
        words = "tokens of launches are not looked at: ARGOSY_TOKEN_PRIVATE_KEY is not set here"
        yield Finding("sealed", CheckState.SKIPPED, words)
    if not (found.broken or found.older):
        yield Finding("sealed", CheckState.OK, "the first key opens all that is looked at")


_SHOWN = 10

_AGAIN = {
    Kind.CLUSTER: "argosy cluster update {} --token-file FILE",
    Kind.LAUNCH: "argosy cancel {}, and launch again",
    Kind.API_TOKEN: "make a token anew: argosy token create, for {}",
    Kind.MAIL: "nothing: mail {} goes without what it attaches",
}
"""What to do about a secret that no key opens."""


def _clusters(patient: Patient) -> Iterator[Finding]:
    from sqlmodel import Session

    with Session(patient.engine) as session:
        found = registry.clusters(session)
    if not found:
        yield Finding("clusters", CheckState.WARNING, "none is registered", "argosy cluster add")
    for cluster in found:
        do = f"argosy cluster check {cluster.name}"
        if cluster.held_at is not None:
            words = f"cluster {cluster.name} is held: {cluster.held_reason}"
            yield Finding("clusters", CheckState.WARNING, words, "argosy db reconcile")
        elif cluster.health != "ok":
            words = ": ".join(filter(None, (f"cluster {cluster.name} is {cluster.health}", cluster.health_message)))
            yield Finding("clusters", CheckState.WARNING, words, do)
        else:
            yield Finding("clusters", CheckState.OK, f"cluster {cluster.name} is ok, as of its last sign")


def _processes(patient: Patient) -> Iterator[Finding]:
    with patient.read() as connection:
        alive = processes.alive(connection)
    for kind in (WORKER, TRACKER):
        if not any(process.kind == kind for process in alive):
            yield Finding("processes", CheckState.WARNING, f"no {kind} is alive", f"start one: argosy {kind}")
    for process in alive:
        who = f"{process.kind} {process.host}/{process.pid}, version {process.version}"
        if process.trouble:
            yield Finding("processes", CheckState.WARNING, f"{who}: {process.trouble}", "see its log")
        else:
            yield Finding("processes", CheckState.OK, f"{who}, is ready")


CHECKS: Sequence[Check] = (
    Check("clock", _clock),
    Check("Redis", _redis, reads=False),
    Check("keys", _keys, reads=False),
    Check("token keys", _token_keys, reads=False),
    Check("sealed", _sealed),
    Check("clusters", _clusters),
    Check("processes", _processes),
)
"""All that are run after the database's own, in this order. To add one, add it here."""
