"""The subnets of the ranking study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgenas.space.arch import Arch
from edgenas.space.covering_samples import beside, covering, macs_of, near_in_macs
from edgenas.space.space import ClassifierSpace

NEAR = 0.1
"""Largest distance of the group's MACs from those of its centre, as a fraction."""


@dataclass(frozen=True)
class Design:
    """The subnets: some that cover the space, and a group whose MACs are near those of one of them, the centre."""

    archs: tuple[Arch, ...]
    macs: tuple[int, ...]
    centre: Arch

    def grouped(self, number: int) -> bool:
        """Return whether a subnet is in the group."""
        return abs(self.macs[number] / self.macs[self.archs.index(self.centre)] - 1) <= NEAR


def design(space: ClassifierSpace, count: int, seed: int) -> Design:
    """Return subnets of which half cover the space, smallest and largest included, and half have near-equal MACs.

    Over a whole space, MACs already rank well. Subnets of near-equal MACs show whether a supernet ranks better.
    """
    ends = covering(space, count - count // 2, seed)
    centre = _centre(space, ends)
    near = near_in_macs(space, centre, NEAR, count - len(ends), seed, but=ends)
    return _design(space, [*ends, *near], centre)


def pool_design(space: ClassifierSpace, pool: Sequence[Arch], count: int, seed: int) -> Design:
    """Return the same for a pool: half of the subnets are spread over its sizes, half are near the middle one."""
    spread = np.linspace(0, len(pool) - 1, count - count // 2).round().astype(int).tolist()
    ends = [pool[index] for index in dict.fromkeys([spread[0], spread[-1], *spread])]
    centre = _centre(space, ends)
    near = beside(space, centre, NEAR, [arch for arch in pool if arch not in ends])
    drawn = np.random.default_rng(seed).permutation(len(near))[: count - len(ends)]
    return _design(space, [*ends, *(near[index] for index in drawn)], centre)


def _centre(space: ClassifierSpace, ends: Sequence[Arch]) -> Arch:
    """Return the middle one of subnets that cover all sizes, with the smallest and the largest first."""
    logs = np.log(macs_of(space, ends))
    inner = np.abs(logs - (logs.min() + logs.max()) / 2)
    # The ends have neighbours on one side only.
    inner[:2] += np.ptp(logs) * (len(ends) > 2)
    return ends[int(inner.argmin())]


def _design(space: ClassifierSpace, archs: Sequence[Arch], centre: Arch) -> Design:
    return Design(tuple(archs), tuple(macs_of(space, archs).astype(int).tolist()), centre)
