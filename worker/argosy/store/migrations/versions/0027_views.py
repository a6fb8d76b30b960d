"""views that services in other languages read; what they have is in worker/docs/views.md"""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None
serves = "0015"

_STATUS = "CASE WHEN j.cancel_requested AND a.state IN ('queued', 'submitting', 'pending', 'running') THEN 'Cancelling' ELSE initcap(a.state) END"

# A launch, with its jobs counted by status for whoever reads that column. PostgreSQL lets nobody write through a view of two tables; it
# leaves the second one out when it reads.
_LAUNCH = f"""
CREATE VIEW argosy.v1_launch AS
SELECT l.gid, l.project, l.user_id, l.algorithm_name AS algorithm, l.state, l.reason, l.waiting, l.after_gid, l.parent_gid, l.priority,
    l.jobs, l.skipped, l.created_at, l.expanded_at,
    (SELECT coalesce(jsonb_object_agg(s.status, s.jobs), '{{}}') FROM (
        SELECT {_STATUS} AS status, count(*) AS jobs
        FROM argosy.job j JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt WHERE j.gid = l.gid GROUP BY 1) s) AS counts
FROM argosy.launch l LEFT JOIN argosy.algorithm g ON g.id = l.algorithm_id
"""

# A job, as its newest attempt is.
_JOB = f"""
CREATE VIEW argosy.v1_job AS
SELECT j.uid, j.gid, j.ordinal AS index, j.project, j.user_id, l.algorithm_name AS algorithm, {_STATUS} AS status, a.message, j.media_ids,
    j.attempt, a.name AS workflow, c.name AS cluster, a.exit_code, j.hidden, l.created_at, a.queued_at, a.started_at, a.finished_at,
    CASE WHEN a.state IN ('pending', 'running') THEN greatest(a.as_of, c.as_of) ELSE a.as_of END AS as_of
FROM argosy.job j JOIN argosy.launch l USING (gid) JOIN argosy.attempt a ON a.uid = j.uid AND a.number = j.attempt
    LEFT JOIN argosy.cluster c ON c.id = a.cluster_id
"""

# Each try of a job.
_ATTEMPT = """
CREATE VIEW argosy.v1_attempt AS
SELECT a.uid, a.number, a.gid, a.project, initcap(a.state) AS status, a.message, a.name AS workflow, c.name AS cluster, a.exit_code,
    a.queued_at, a.submitted_at, a.started_at, a.finished_at
FROM argosy.attempt a LEFT JOIN argosy.cluster c ON c.id = a.cluster_id
"""

# Each node of each try.
_NODE = """
CREATE VIEW argosy.v1_node AS
SELECT n.uid, n.attempt, a.gid, a.project, n.node_id AS id, n.task, n.type, n.phase AS status, n.message, n.exit_code, n.children, n.pod, n.started_at,
    n.finished_at
FROM argosy.node n JOIN argosy.attempt a ON a.uid = n.uid AND a.number = n.attempt
"""


def upgrade() -> None:
    for view in (_LAUNCH, _JOB, _ATTEMPT, _NODE):
        op.execute(view)


def downgrade() -> None:
    for name in ("node", "attempt", "job", "launch"):
        op.execute(f"DROP VIEW argosy.v1_{name}")
