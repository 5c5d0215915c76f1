"""Pretrained networks of the shelf beside the front: their latencies, and the accuracies of those that were tuned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgenas.deploy.bundle.shipped_wording import VERDICT_WORDS
from edgenas.errors import shortened
from edgenas.records.shelf import ShelfRecord, TimedNetwork
from edgenas.report.formats import MISSING, ms, percent
from edgenas.space.arch import Arch

COLUMNS = ("network", "pixels", "device", "tuned validation top-1", "measured p50 / p95 (ms)", "within budget")


@dataclass(frozen=True)
class ShelfFacts:
    """The networks of the shelf.

    Attributes:
        record: networks and latencies.
        top1: validation top-1 of the networks of a run that were fine-tuned side by side.
    """

    record: ShelfRecord
    top1: Mapping[Arch, float]

    def tuned_on(self, device: str) -> list[tuple[TimedNetwork, float]]:
        """Return the networks that were fine-tuned and timed on a device, with their validation top-1."""
        timed = [network for network in self.record.networks if device in network.latency]
        return [(network, self.top1[network.arch]) for network in timed if network.arch in self.top1]


def sentences(shelf: ShelfFacts) -> list[str]:
    """Return how many networks of the shelf are within the budgets, and the notes on it."""
    record = shelf.record
    if not record.eligible:
        return list(record.notes)
    names = dict.fromkeys(network.arch.network for network in record.networks)
    tuned = sum(network.arch in shelf.top1 for network in record.networks)
    return [
        f"The shelf holds {shortened(names)}. A row is a network at one resolution. {len(record.eligible)} of "
        f"{len(record.networks)} rows are within every budget; {tuned} were fine-tuned",
        *record.notes,
    ]


def rows(shelf: ShelfFacts, devices: Sequence[str]) -> Iterable[list[str]]:
    """Yield a row for each network of the shelf and each device, see `COLUMNS`."""
    for network in shelf.record.networks:
        for device in (device for device in devices if device in network.latency):
            timed = network.latency[device]
            yield [
                network.arch.network,
                str(network.arch.resolution),
                device,
                percent(shelf.top1.get(network.arch)),
                f"{ms(timed.p50_us)} / {ms(timed.p95_us)}",
                VERDICT_WORDS.get(timed.verdict, MISSING),
            ]
