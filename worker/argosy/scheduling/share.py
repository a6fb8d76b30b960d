"""How jobs that several clusters may take are shared out among these. Pure."""

from collections.abc import Sequence


def part(jobs: int, own: tuple[int, int], others: Sequence[tuple[int, int]]) -> int:
    """How many jobs a cluster takes when others could take them too, so that all end up equally full.
    Rounded up, so that every job is taken.

    Args:
        jobs: The jobs to share out, at most as many as there are free slots.
        own: The cluster's slots and how many of them are taken.
        others: The same for each of the other clusters.
    """
    slots = taken = 0
    for capacity, active in sorted([own, *others], key=lambda cluster: cluster[1] / cluster[0]):
        if slots and (jobs + taken) * capacity <= active * slots:
            break
        slots, taken = slots + capacity, taken + active
    return max(-(-(jobs + taken) * own[0] // slots) - own[1], 0)
