from uuid import UUID, uuid1

from hypothesis import given
from hypothesis import strategies as st

from argosy.batches import JobUids, batches, count, distinct, ordinal

ids = st.lists(st.integers(0, 2**63 - 1), max_size=200)
gids = st.builds(
    lambda time, clock, node: UUID(
        fields=(
            time & 0xFFFFFFFF,
            time >> 32 & 0xFFFF,
            time >> 48 & 0xFFF | 0x1000,
            clock >> 8 | 0x80,
            clock & 0xFF,
            node,
        )
    ),
    st.integers(0, 2**60 - 2**32),
    st.integers(0, 2**14 - 1),
    st.integers(0, 2**48 - 1),
)


@given(ids, st.integers(1, 50))
def test_batches_hold_every_medium_once_in_order_and_only_the_last_is_shorter(media: list[int], size: int) -> None:
    cut = list(batches(media, size))
    assert [medium for batch in cut for medium in batch] == media
    assert all(len(batch) == size for batch in cut[:-1])
    assert all(0 < len(batch) <= size for batch in cut)
    assert len(cut) == count(len(media), size)


@given(ids)
def test_the_first_of_a_double_wins(media: list[int]) -> None:
    kept = distinct(media)
    assert sorted(kept) == sorted(set(media))
    assert [media.index(medium) for medium in kept] == sorted(media.index(medium) for medium in kept)


@given(gids, st.integers(1, 500))
def test_uids_are_version_1_distinct_and_in_time_order_from_the_gid(gid: UUID, jobs: int) -> None:
    uids = list(JobUids(gid, jobs))
    assert [uid.version for uid in uids] == [1] * jobs
    assert [uid.variant for uid in uids] == [gid.variant] * jobs
    assert [uid.time for uid in uids] == [gid.time + 1 + i for i in range(jobs)]
    assert all(uid.node >> 40 & 1 for uid in uids)


@given(gids, st.integers(1, 50))
def test_the_same_gid_yields_the_same_uids_whatever_the_count(gid: UUID, jobs: int) -> None:
    assert list(JobUids(gid, jobs)) == JobUids(gid, jobs + 7)[:jobs]


def test_launches_of_one_host_at_adjacent_moments_do_not_collide() -> None:
    gids = [uuid1() for _ in range(200)]
    uids = {uid for gid in gids for uid in JobUids(gid, 100)}
    assert len(uids) == 200 * 100
    assert not uids & set(gids)


def test_uids_stay_what_they_are_over_versions() -> None:
    """They are in databases and on clusters: a change of the derivation would be a second launch."""
    gid = UUID("5d2a8a00-c9b1-11f0-8de9-0242ac120002")
    assert [str(uid) for uid in JobUids(gid, 2)] == [
        "5d2a8a01-c9b1-11f0-b6c6-c5f98185f12c",
        "5d2a8a02-c9b1-11f0-b6c6-c5f98185f12c",
    ]


@given(gids, gids, st.integers(0, 2**31 - 1))
def test_a_uid_tells_which_job_of_which_launch_it_is(gid: UUID, other: UUID, number: int) -> None:
    uid = JobUids(gid, number + 1)[number]
    assert ordinal(gid, uid) == number
    assert other == gid or ordinal(other, uid) is None
    assert ordinal(gid, gid) is None
