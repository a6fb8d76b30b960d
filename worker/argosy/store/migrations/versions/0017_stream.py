"""whoever looks is told when something changes: notices of launches, jobs, steps and clusters, sent with the commit"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None
serves = "0015"

# A notice once in a transaction; beyond a hundred of them one that means everything. What was told is kept in a setting of the transaction,
# which a rollback takes back.
_TELL = """
CREATE FUNCTION argosy.tell(what text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told text := coalesce(current_setting('argosy.told', true), '');
BEGIN
    IF strpos(told, what || ';') > 0 OR right(told, 2) = '*;' THEN
        RETURN;
    END IF;
    IF length(told) > 5000 THEN
        what := '*';
    END IF;
    PERFORM set_config('argosy.told', told || what || ';', true);
    PERFORM pg_notify('argosy_change', what);
END
$$
"""

_TRIGGER = """
CREATE FUNCTION argosy.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM argosy.tell({what});
    RETURN NULL;
END
$$
"""

_FUNCTIONS = {
    "tell_launch": "'launch ' || NEW.gid || ' ' || NEW.project",
    "tell_job": "'job ' || NEW.uid",
    "tell_cluster": "'cluster ' || NEW.id",
    "tell_project": "'project ' || NEW.id",
}

_PAUSED = "(OLD.paused_at IS NULL) <> (NEW.paused_at IS NULL)"

_TRIGGERS = {
    "tell_launch_insert": ("AFTER INSERT ON argosy.launch", "true", "tell_launch"),
    "tell_launch_update": (
        "AFTER UPDATE OF state, reason, hidden ON argosy.launch",
        "(NEW.state, NEW.reason, NEW.hidden) IS DISTINCT FROM (OLD.state, OLD.reason, OLD.hidden)",
        "tell_launch",
    ),
    "tell_job_update": (
        "AFTER UPDATE OF cancel_requested, hidden, attempt ON argosy.job",
        "(NEW.cancel_requested, NEW.hidden, NEW.attempt) IS DISTINCT FROM (OLD.cancel_requested, OLD.hidden, OLD.attempt)",
        "tell_launch",
    ),
    "tell_attempt_update": (
        "AFTER UPDATE OF state, message, overdue ON argosy.attempt",
        "(NEW.state, NEW.message, NEW.overdue) IS DISTINCT FROM (OLD.state, OLD.message, OLD.overdue)",
        "tell_launch",
    ),
    "tell_node_insert": ("AFTER INSERT ON argosy.node", "true", "tell_job"),
    "tell_node_update": (
        "AFTER UPDATE OF phase, message ON argosy.node",
        "(NEW.phase, NEW.message) IS DISTINCT FROM (OLD.phase, OLD.message)",
        "tell_job",
    ),
    "tell_cluster_insert": ("AFTER INSERT ON argosy.cluster", "true", "tell_cluster"),
    "tell_cluster_update": (
        "AFTER UPDATE OF health, paused_at, held_at, open_tries, removed_at ON argosy.cluster",
        "(NEW.health, NEW.paused_at IS NULL, NEW.held_at IS NULL, NEW.open_tries = 0, NEW.removed_at IS NULL) IS DISTINCT FROM "
        "(OLD.health, OLD.paused_at IS NULL, OLD.held_at IS NULL, OLD.open_tries = 0, OLD.removed_at IS NULL)",
        "tell_cluster",
    ),
    "tell_project_update": (
        "AFTER UPDATE OF paused_at, weight, max_queued ON argosy.project",
        f"{_PAUSED} OR NEW.weight <> OLD.weight OR NEW.max_queued IS DISTINCT FROM OLD.max_queued",
        "tell_project",
    ),
}


def upgrade() -> None:
    # Without waiting, or with processes that work meanwhile there would be deadlocks; `database.upgrade` tries again.
    op.execute(
        "LOCK TABLE argosy.cluster, argosy.project, argosy.launch, argosy.job, argosy.attempt, argosy.node "
        "IN SHARE ROW EXCLUSIVE MODE NOWAIT"
    )
    op.execute(_TELL)
    for name, what in _FUNCTIONS.items():
        op.execute(_TRIGGER.format(name=name, what=what))
    for name, (when, condition, function) in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION argosy.{function}()")


def downgrade() -> None:
    for name, (when, _, _) in _TRIGGERS.items():
        op.execute(f"DROP TRIGGER {name} ON {when.rpartition(' ')[2]}")
    for name in _FUNCTIONS:
        op.execute(f"DROP FUNCTION argosy.{name}()")
    op.execute("DROP FUNCTION argosy.tell(text)")
