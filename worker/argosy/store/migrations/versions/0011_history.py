"""what happened: events, written by triggers; what a failed job said, where its pods were and what they used"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Messages are alike if they differ only in quoted parts and in words that hold a digit or a slash. Of a long one the beginning counts, and
# nothing here looks at a letter more than twice: the text comes from tenants.
_ALIKE = r"""
CREATE FUNCTION argosy.alike(message text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT regexp_replace(regexp_replace(left(message, 200),
    '"[^"]*"|(?<![[:alnum:]])''[^'']*''|`[^`]*`', '"…"', 'g'), '\S*[0-9/]\S*', '#', 'g')
$$
"""

_WHO = "coalesce(current_setting('argosy.actor', true), '')"

_FUNCTION = """
CREATE FUNCTION argosy.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
{body}
$$
"""

_OF_LAUNCH = f"""
DECLARE
    what text := NEW.state;
    why text := NEW.reason;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.hidden AND NOT OLD.hidden THEN
        what := 'hidden';
        why := '';
    END IF;
    INSERT INTO argosy.event AS e (kind, gid, actor, message, detail, likeness)
    VALUES (what, NEW.gid,
        coalesce(nullif({_WHO}, ''), CASE WHEN TG_OP = 'INSERT' THEN 'user ' || NEW.user_id ELSE NEW.claim_worker END, ''),
        left(why, 2000), CASE WHEN NEW.jobs > 0 THEN jsonb_build_object('jobs', NEW.jobs) ELSE '{{}}' END,
        hashtextextended(argosy.alike(why), 0))
    ON CONFLICT (gid, kind, likeness) WHERE uid IS NULL AND gid IS NOT NULL
    DO UPDATE SET times = e.times + 1, last_at = clock_timestamp(), xact = excluded.xact, message = excluded.message;
    RETURN NULL;
END
"""

_OF_JOB = f"""
BEGIN
    INSERT INTO argosy.event AS e (kind, gid, uid, attempt, actor, likeness)
    VALUES (CASE WHEN NEW.cancel_requested AND NOT OLD.cancel_requested THEN 'cancel_requested' ELSE 'hidden' END,
        NEW.gid, NEW.uid, NEW.attempt, {_WHO}, 0)
    ON CONFLICT (uid, attempt, node_id, kind, likeness) WHERE uid IS NOT NULL
    DO UPDATE SET times = e.times + 1, last_at = clock_timestamp(), xact = excluded.xact, actor = excluded.actor;
    RETURN NULL;
END
"""

_OF_ATTEMPT = f"""
DECLARE
    what text := NEW.state;
    why text := NEW.message;
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.overdue <> OLD.overdue AND NEW.state = OLD.state THEN
        what := 'overdue';
        why := NEW.overdue;
    END IF;
    INSERT INTO argosy.event AS e (kind, gid, uid, attempt, cluster_id, actor, message, detail, likeness)
    VALUES (what, NEW.gid, NEW.uid, NEW.number, NEW.cluster_id,
        CASE WHEN 'submitting' IN (NEW.state, CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END) THEN coalesce(NEW.claim_worker, '') ELSE {_WHO} END, left(why, 2000),
        CASE WHEN NEW.state = 'queued' AND NEW.not_before IS NOT NULL THEN jsonb_build_object('not_before', NEW.not_before)
            WHEN NEW.exit_code IS NOT NULL OR NEW.resources <> '{{}}' THEN
                jsonb_strip_nulls(jsonb_build_object('exit_code', NEW.exit_code, 'resources', nullif(NEW.resources, '{{}}')))
            ELSE '{{}}' END,
        hashtextextended(argosy.alike(why), 0))
    ON CONFLICT (uid, attempt, node_id, kind, likeness) WHERE uid IS NOT NULL
    DO UPDATE SET times = e.times + 1, last_at = clock_timestamp(), xact = excluded.xact, message = excluded.message, actor = excluded.actor,
        cluster_id = excluded.cluster_id, detail = excluded.detail;
    RETURN NULL;
END
"""

_SINCE = """
BEGIN
    NEW.state_at := clock_timestamp();
    RETURN NEW;
END
"""

_OF_NODE = """
BEGIN
    INSERT INTO argosy.event AS e (kind, gid, uid, attempt, node_id, cluster_id, message, detail, likeness)
    SELECT 'node_' || lower(NEW.phase), a.gid, NEW.uid, NEW.attempt, NEW.node_id, a.cluster_id, left(NEW.message, 2000),
        jsonb_strip_nulls(jsonb_build_object('task', NEW.task, 'exit_code', NEW.exit_code, 'pod', nullif(NEW.pod, ''),
            'host', nullif(NEW.host, ''), 'resources', nullif(NEW.resources, '{}'))),
        hashtextextended(argosy.alike(NEW.message), 0)
    FROM argosy.attempt a WHERE a.uid = NEW.uid AND a.number = NEW.attempt
    ON CONFLICT (uid, attempt, node_id, kind, likeness) WHERE uid IS NOT NULL
    DO UPDATE SET times = e.times + 1, last_at = clock_timestamp(), xact = excluded.xact, message = excluded.message, detail = excluded.detail;
    RETURN NULL;
END
"""

_OF_CLUSTER = f"""
DECLARE
    told text[][] := '{{}}';
BEGIN
    IF TG_OP = 'INSERT' THEN
        told := told || ARRAY[['registered', '']];
    ELSE
        IF NEW.removed_at IS NOT NULL AND OLD.removed_at IS NULL THEN
            told := told || ARRAY[['removed', '']];
        END IF;
        IF NEW.host IS DISTINCT FROM OLD.host OR NEW.port <> OLD.port OR NEW.credential_version <> OLD.credential_version THEN
            told := told || ARRAY[['changed', 'its address or credentials']];
        END IF;
        IF NEW.health <> OLD.health THEN
            told := told || ARRAY[['health', concat_ws(': ', NEW.health, nullif(NEW.health_message, ''))]];
        END IF;
        IF (NEW.paused_at IS NULL) <> (OLD.paused_at IS NULL) THEN
            told := told || ARRAY[[CASE WHEN NEW.paused_at IS NULL THEN 'resumed' ELSE 'paused' END, NEW.paused_reason]];
        END IF;
        IF (NEW.held_at IS NULL) <> (OLD.held_at IS NULL) THEN
            told := told || ARRAY[[CASE WHEN NEW.held_at IS NULL THEN 'released' ELSE 'held' END, NEW.held_reason]];
        END IF;
        IF (NEW.open_tries = 0) <> (OLD.open_tries = 0) THEN
            told := told || ARRAY[[CASE WHEN NEW.open_tries = 0 THEN 'breaker_closed' ELSE 'breaker_opened' END, NEW.open_reason]];
        END IF;
    END IF;
    FOR n IN 1 .. coalesce(array_length(told, 1), 0) LOOP
        INSERT INTO argosy.event (kind, cluster_id, actor, message, likeness)
        VALUES (told[n][1], NEW.id, {_WHO}, left(told[n][2], 2000), 0);
    END LOOP;
    RETURN NULL;
END
"""

_BODIES = {
    "date_attempt": _SINCE,
    "note_launch": _OF_LAUNCH,
    "note_job": _OF_JOB,
    "note_attempt": _OF_ATTEMPT,
    "note_node": _OF_NODE,
    "note_cluster": _OF_CLUSTER,
}

_LEAF = "NEW.type IN ('Pod', 'Container', 'HTTP', 'Plugin', 'Suspend')"
_TOLD = "(NEW.phase IN ('Failed', 'Error') OR NEW.phase = 'Pending' AND NEW.message <> '')"
_CLUSTER = (
    "removed_at", "host", "port", "credential_version", "health", "paused_at", "held_at",
)  # fmt: skip

_TRIGGERS = {
    "date_attempt_update": ("BEFORE UPDATE OF state ON argosy.attempt", "NEW.state <> OLD.state", "date_attempt"),
    "note_launch_insert": ("AFTER INSERT ON argosy.launch", "true", "note_launch"),
    "note_launch_update": (
        "AFTER UPDATE OF state, reason, hidden ON argosy.launch",
        "NEW.state <> OLD.state OR NEW.hidden AND NOT OLD.hidden OR NEW.reason <> OLD.reason AND NEW.reason <> ''",
        "note_launch",
    ),
    "note_job_update": (
        "AFTER UPDATE OF cancel_requested, hidden ON argosy.job",
        "NEW.cancel_requested AND NOT OLD.cancel_requested OR NEW.hidden AND NOT OLD.hidden",
        "note_job",
    ),
    # The first attempts of a launch are told by its own event.
    "note_attempt_insert": (
        "AFTER INSERT ON argosy.attempt",
        "NEW.number > 1 OR NEW.state <> 'queued'",
        "note_attempt",
    ),
    "note_attempt_update": (
        "AFTER UPDATE OF state, message, overdue ON argosy.attempt",
        # A first claim is told by what comes of it: claims are made under the cluster's lock.
        "(NEW.state <> OLD.state OR NEW.overdue <> OLD.overdue OR NEW.message <> OLD.message AND NEW.message <> '') "
        "AND NOT (NEW.state = 'submitting' AND NEW.tries <= 1 AND NEW.message = '')",
        "note_attempt",
    ),
    "note_node_insert": ("AFTER INSERT ON argosy.node", f"{_LEAF} AND {_TOLD}", "note_node"),
    "note_node_update": (
        "AFTER UPDATE OF phase, message ON argosy.node",
        f"{_LEAF} AND {_TOLD} AND (NEW.phase, NEW.message) IS DISTINCT FROM (OLD.phase, OLD.message)",
        "note_node",
    ),
    "note_cluster_insert": ("AFTER INSERT ON argosy.cluster", "true", "note_cluster"),
    "note_cluster_update": (
        f"AFTER UPDATE OF {', '.join(_CLUSTER)}, open_tries ON argosy.cluster",
        f"({', '.join(f'NEW.{name}' for name in _CLUSTER)}, NEW.open_tries = 0) IS DISTINCT FROM "
        f"({', '.join(f'OLD.{name}' for name in _CLUSTER)}, OLD.open_tries = 0)",
        "note_cluster",
    ),
}


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False)


def upgrade() -> None:
    # Without waiting, or with processes that work meanwhile there would be deadlocks; `migrate.upgrade` tries again.
    op.execute(
        "LOCK TABLE argosy.cluster, argosy.launch, argosy.job, argosy.attempt, argosy.node IN ACCESS EXCLUSIVE MODE NOWAIT"
    )
    for name in ("pod", "host"):
        op.add_column("node", sa.Column(name, sa.Text(), server_default="", nullable=False), schema="argosy")
    op.add_column("attempt", sa.Column("state_at", sa.DateTime(timezone=True), nullable=True), schema="argosy")
    op.add_column("attempt", sa.Column("exit_code", sa.Integer(), nullable=True), schema="argosy")
    for table in ("node", "attempt"):
        op.add_column(table, sa.Column("resources", JSONB(), server_default="{}", nullable=False), schema="argosy")
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column(
            "xact", sa.BigInteger(), server_default=sa.text("pg_current_xact_id()::text::bigint"), nullable=False
        ),
        _time("at"),
        _time("last_at"),
        sa.Column("times", sa.Integer(), server_default="1", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("gid", sa.Uuid(), nullable=True),
        sa.Column("uid", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=True),
        sa.Column("node_id", sa.Text(), server_default="", nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=True),
        sa.Column("actor", sa.Text(), server_default="", nullable=False),
        sa.Column("message", sa.Text(), server_default="", nullable=False),
        sa.Column("detail", JSONB(), server_default="{}", nullable=False),
        sa.Column("likeness", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        schema="argosy",
    )
    _index("ix_event_gid_last_at", ["gid", "last_at"], "gid IS NOT NULL")
    _index("ix_event_cluster_id_last_at", ["cluster_id", "last_at"], "gid IS NULL")
    _index("uq_event_launch", ["gid", "kind", "likeness"], "uid IS NULL AND gid IS NOT NULL", unique=True)
    _index("uq_event_job", ["uid", "attempt", "node_id", "kind", "likeness"], "uid IS NOT NULL", unique=True)
    op.execute(_ALIKE)
    for name, body in _BODIES.items():
        op.execute(_FUNCTION.format(name=name, body=body))
    for name, (when, condition, function) in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION argosy.{function}()")


def _index(name: str, columns: list[str], where: str, unique: bool = False) -> None:
    op.create_index(name, "event", columns, unique=unique, schema="argosy", postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, (when, _, _) in _TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {when.rsplit(' ', 1)[1]}")
    for name in _BODIES:
        op.execute(f"DROP FUNCTION argosy.{name}()")
    op.drop_table("event", schema="argosy")
    op.execute("DROP FUNCTION argosy.alike(text)")
    for table in ("node", "attempt"):
        op.drop_column(table, "resources", schema="argosy")
    for name in ("exit_code", "state_at"):
        op.drop_column("attempt", name, schema="argosy")
    for name in ("host", "pod"):
        op.drop_column("node", name, schema="argosy")
