"""What moving queued jobs to another cluster answers."""

from uuid import UUID

from pydantic import BaseModel


class StayedShape(BaseModel):
    """Jobs of a launch that stay where they are, and why: the other cluster's policy does not allow their manifest."""

    gid: UUID
    algorithm: str
    jobs: int
    reason: str


class MovedShape(BaseModel):
    """What was moved, or would be.

    `jobs` were queued; `launches` are to be cut yet, into `uncut` more jobs. `claimed` were claimed, cancelled or ended before it was their
    turn, and stay where they are. `algorithms` are those whose new launches still go to the first cluster.
    """

    jobs: int = 0
    launches: int = 0
    uncut: int = 0
    claimed: int = 0
    stayed: list[StayedShape] = []
    algorithms: list[str] = []
