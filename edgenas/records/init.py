"""InitRecord: the pretrained network that a run starts from, chosen once when the run begins."""

from __future__ import annotations

from edgenas.markup import name_in_sentence
from edgenas.records.record import Record
from edgenas.records.weights import WeightsFacts

Channels = tuple[float, float, float]


class InitRecord(Record):
    """init.json, in runs whose `train.init` is `auto` or names a pretrained network.

    Attributes:
        asked: value of `train.init`.
        network: facts about the network; None where the run starts from random weights.
        note: for the user: why the weights are random; None where there is a network.
        mean: means of red, green and blue that images are normalised with by default: the network's.
        std: standard deviations, likewise.
        crop: share of the images' shorter side that is used by default.
    """

    asked: str
    network: WeightsFacts | None
    note: str | None
    mean: Channels
    std: Channels
    crop: float

    @property
    def words(self) -> str:
        """The origin of the initial weights, as a clause."""
        if self.network is None:
            return f"random weights: {self.note}"
        facts = self.network
        licence = facts.licence or "licence: not stated"
        return f"weights of {name_in_sentence(facts.name)}, from {name_in_sentence(facts.origin)} ({licence})"
