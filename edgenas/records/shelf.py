"""Records of the shelf: pretrained networks that are candidates beside those of a run's own space."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from edgenas.budget import BudgetText
from edgenas.records.export import TimedLatency
from edgenas.records.record import ArchText, Record, Verdict
from edgenas.records.weights import WeightsFacts

Channels = tuple[float, float, float]


class ShelfNetwork(Record):
    """A pretrained network on the shelf.

    Attributes:
        weights: facts about its weights; their name is the network's.
        mean: means of red, green and blue that its inputs are normalised with.
        std: standard deviations, likewise.
        crop: share of the images' shorter side that it sees, from the centre.
    """

    weights: WeightsFacts
    mean: Channels
    std: Channels
    crop: Annotated[float, Field(gt=0, le=1)]


class ShelfNetworks(Record):
    """shelf/networks.json, written when a run begins; the space of each network is beside it.

    Attributes:
        networks: the networks.
        notes: networks that are installed but not on the shelf, and why; a sentence each.
    """

    networks: tuple[ShelfNetwork, ...]
    notes: tuple[str, ...]


class TimedNetwork(Record):
    """A network of the shelf at one resolution, as it was timed with random weights.

    Attributes:
        arch: the network.
        latency: latency by measured device.
        verdict: the worst over all budgets; None where there are none.
        over: budgets that it is over, in words.
    """

    arch: ArchText
    latency: dict[str, TimedLatency]
    verdict: Verdict | None
    over: tuple[str, ...]

    @property
    def eligible(self) -> bool:
        """Whether it is within every budget."""
        return self.verdict in ("within", None)


class ShelfRecord(Record):
    """verify/shelf.json: the networks of the shelf, timed on every measured device.

    Attributes:
        budgets: the budgets that they are compared with.
        networks: the networks, those of one name together, smallest resolution first. Smaller resolutions than those
            of a network within every budget are left out, and ones that are far over a budget.
        notes: for the user, a sentence each.
    """

    budgets: tuple[BudgetText, ...]
    networks: tuple[TimedNetwork, ...]
    notes: tuple[str, ...]

    @property
    def eligible(self) -> tuple[TimedNetwork, ...]:
        """The networks within every budget."""
        return tuple(network for network in self.networks if network.eligible)
