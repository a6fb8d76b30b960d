"""Who may do what in the schema `argosy`, as SQL that a DBA can read: `argosy db roles --sql`.

There are three roles without a login; the users of processes, people and API servers are members of them. One user for everything works as
well, and then these roles need not be there.

- `argosy_owner` owns the schema. Its members run `argosy db upgrade`.
- `argosy_process` writes rows and changes no table: workers, trackers, gateways and operators.
- `argosy_caller` inserts launches, in the columns that a request has, and reads: an API server that uses the library.

A caller must lock two kinds of rows when it launches. PostgreSQL has no right to lock a row that is not also a right to change it, so it
does that through functions of the owner (migration 0025).
"""

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import Connection, LargeBinary, text

from argosy.store.requests import COLUMNS
from argosy.store.tables import metadata

OWNER, PROCESS, CALLER = "argosy_owner", "argosy_process", "argosy_caller"

READ: Mapping[str, Collection[str]] = {
    "alembic_version": (),
    "algorithm": (),
    "attempt": (),
    "cluster": (),
    "container_log": (),
    "early_cancel": (),
    "event": (),
    "installation": ("token_key",),
    "job": (),
    "launch": ("secret_id", "success_email", "failure_email"),
    "lease": (),
    "node": (),
    "outbox": ("body",),
    "placement": (),
    "process": (),
    "project": (),
    "project_limit": (),
    "revision": (),
    "turn": (),
}
"""The tables that callers read, each without these columns. Columns of bytes are what lies sealed; they are left out everywhere."""

FUNCTIONS = ("age(uuid)", "alike(text)", "failure(text, integer, text)", "keep_launch(uuid, bigint)", "room_of(bigint)")
"""The functions that callers call."""

_ROLE = """DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN
        CREATE ROLE {role} NOLOGIN;
    END IF;
END $$"""

# Whoever has made a role may give it to itself.
_MEMBER = f"""DO $$ BEGIN
    IF NOT pg_has_role('{OWNER}', 'USAGE') THEN
        GRANT {OWNER} TO CURRENT_USER;
    END IF;
END $$"""

# Sequences and indexes go with their tables.
_OWN = f"""DO $$ DECLARE found record; BEGIN
    ALTER SCHEMA argosy OWNER TO {OWNER};
    FOR found IN SELECT oid::regclass AS name FROM pg_class
        WHERE relnamespace = 'argosy'::regnamespace AND relkind IN ('r', 'v') AND relowner <> '{OWNER}'::regrole
    LOOP
        EXECUTE 'ALTER TABLE ' || found.name || ' OWNER TO {OWNER}';
    END LOOP;
    FOR found IN SELECT oid::regprocedure AS name FROM pg_proc
        WHERE pronamespace = 'argosy'::regnamespace AND proowner <> '{OWNER}'::regrole
    LOOP
        EXECUTE 'ALTER FUNCTION ' || found.name || ' OWNER TO {OWNER}';
    END LOOP;
END $$"""

# Views are made to be read by everybody who may read anything here.
_VIEWS = f"""DO $$ DECLARE found record; BEGIN
    FOR found IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'argosy'::regnamespace AND relkind = 'v'
    LOOP
        EXECUTE 'GRANT SELECT ON ' || found.name || ' TO {CALLER}';
    END LOOP;
END $$"""

_DEFAULTS = f"ALTER DEFAULT PRIVILEGES FOR ROLE {OWNER} IN SCHEMA argosy GRANT"


def roles() -> Iterator[str]:
    """The statements that make the roles and give the schema to its owner. Repeated, they change nothing."""
    yield from (_ROLE.format(role=role) for role in (OWNER, PROCESS, CALLER))
    yield _MEMBER
    yield _OWN


def grants() -> Iterator[str]:
    """The statements that give processes and callers their rights, and take all others from them and from everybody else."""
    for what in ("SCHEMA", "ALL TABLES IN SCHEMA", "ALL SEQUENCES IN SCHEMA", "ALL FUNCTIONS IN SCHEMA"):
        yield f"REVOKE ALL ON {what} argosy FROM PUBLIC, {PROCESS}, {CALLER}"
    yield f"GRANT USAGE ON SCHEMA argosy TO {PROCESS}, {CALLER}"
    for right, what in (
        ("SELECT, INSERT, UPDATE, DELETE", "TABLES"),
        ("USAGE", "SEQUENCES"),
        ("EXECUTE", "FUNCTIONS"),
    ):
        yield f"GRANT {right} ON ALL {what} IN SCHEMA argosy TO {PROCESS}"
        # What a later migration makes, until `argosy db upgrade` has given these rights anew.
        yield f"{_DEFAULTS} {right} ON {what} TO {PROCESS}"
    yield f"REVOKE INSERT, UPDATE, DELETE ON argosy.alembic_version FROM {PROCESS}"
    for table in READ:
        columns = readable(table)
        which = f" ({', '.join(columns)})" if columns else ""
        yield f"GRANT SELECT{which} ON argosy.{table} TO {CALLER}"
    yield _VIEWS
    yield f"GRANT INSERT ({', '.join(COLUMNS)}) ON argosy.launch TO {CALLER}"
    yield f"GRANT EXECUTE ON FUNCTION {', '.join(f'argosy.{name}' for name in FUNCTIONS)} TO {CALLER}"


def readable(table: str) -> list[str]:
    """The columns of a table that callers read; empty if that is the whole table."""
    if table == "alembic_version":
        return []
    columns = metadata.tables[f"argosy.{table}"].columns
    kept = [each.name for each in columns if each.name not in READ[table] and not isinstance(each.type, LargeBinary)]
    return [] if len(kept) == len(columns) else kept


# Whether the schema has an owner of its own, so that its rights are given by role.
_GIVEN = text(
    "SELECT EXISTS (SELECT FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner "
    "WHERE n.nspname = 'argosy' AND r.rolname = :owner)"
)


def given(connection: Connection) -> bool:
    """Whether this database uses the roles."""
    return bool(connection.execute(_GIVEN, {"owner": OWNER}).scalar_one())


def give(connection: Connection, *, make: bool = False) -> None:
    """Give the rights.

    Args:
        connection: Of an owner of the schema, in a transaction.
        make: Make the roles first, and the schema theirs.
    """
    for statement in (*(roles() if make else ()), *grants()):
        connection.exec_driver_sql(statement)
