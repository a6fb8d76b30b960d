"""Cutting a launch into jobs: which media go together, and under which uid. Pure.

A uid is a version-1 UUID because the REST reference says so. It is not random but follows from the gid: job number i of a launch has the
time `gid.time + 1 + i`, and node and clock sequence come from SHA-256(gid). So a redelivered message gives the same ids, a caller can
return all ids before a worker has run, and two launches that one host makes at the same time cannot collide (P10).
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import overload
from uuid import UUID

_EPOCH = datetime(1582, 10, 15, tzinfo=UTC)
"""The time from which a version-1 UUID counts (RFC 9562, 5.1)."""

_MULTICAST = 1 << 40
"""Bit that marks the node part as not that of a real network card (RFC 9562, 6.10)."""


class JobUids(Sequence[UUID]):
    """The uids of a launch's jobs, computed when they are needed.

    Args:
        gid: The launch.
        count: Number of its jobs.
    """

    def __init__(self, gid: UUID, count: int) -> None:
        digest = sha256(gid.bytes).digest()
        self._time = gid.time + 1
        self._clock = int.from_bytes(digest[:2]) & 0x3FFF | 0x8000
        self._node = int.from_bytes(digest[2:8]) | _MULTICAST
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> UUID: ...
    @overload
    def __getitem__(self, index: slice) -> list[UUID]: ...
    def __getitem__(self, index: int | slice) -> UUID | list[UUID]:
        if isinstance(index, slice):
            return [self._uid(i) for i in range(*index.indices(self._count))]
        return self._uid(range(self._count)[index])

    def _uid(self, index: int) -> UUID:
        time = self._time + index
        time_hi_version = time >> 48 & 0x0FFF | 0x1000
        fields = (time & 0xFFFFFFFF, time >> 32 & 0xFFFF, time_hi_version, self._clock >> 8, self._clock & 0xFF)
        return UUID(fields=(*fields, self._node))


def made(uid: UUID) -> datetime:
    """The time in a version-1 UUID, by the clock of the machine that made it."""
    return _EPOCH + timedelta(microseconds=uid.time // 10)


def ticks(when: datetime) -> int:
    """The time part of a version-1 UUID that is made at this time."""
    return (when - _EPOCH) // timedelta(microseconds=1) * 10


def ordinal(gid: UUID, uid: UUID) -> int | None:
    """The number of the job of a launch that has this uid; None if no job of the launch could have it, however many there are."""
    number = uid.time - gid.time - 1
    return number if 0 <= number < 1 << 31 and JobUids(gid, number + 1)[number] == uid else None


def distinct(media_ids: Sequence[int]) -> list[int]:
    """The ids in their order, without repetitions."""
    return list(dict.fromkeys(media_ids))


def count(media: int, files_per_job: int) -> int:
    """The number of batches that so many media make."""
    return -(-media // files_per_job)


def batches(media_ids: Sequence[int], files_per_job: int) -> Iterator[Sequence[int]]:
    """Consecutive batches of `files_per_job` media; the last may be shorter."""
    return (media_ids[start : start + files_per_job] for start in range(0, len(media_ids), files_per_job))
