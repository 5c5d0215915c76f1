"""A finished run: the records of its folder, read together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from edgenas.records.export import HindsightRecord
from edgenas.records.folder import StageCostRow, SummaryRecord
from edgenas.records.profile import PredictorScore, VariantRecord
from edgenas.records.record import Record
from edgenas.records.search import EvaluationRow, RoundRow, SearchRecord
from edgenas.records.studies import BaselinesRecord, RankingRecord
from edgenas.records.train import StepRow, ValidationRow
from edgenas.records.verify import MeasuredNetwork, UnderstandingRecord


class ClassScores(Record):
    """Accuracy of a bundle's file on the test images; by class where the bundle states it."""

    test_top1: float
    test_images: int
    test_images_by_class: tuple[int, ...] = ()
    test_top1_by_class: tuple[float | None, ...] = ()


class Int8Scores(Record):
    """A manifest's `int8`, as far as it is shown."""

    accuracy: ClassScores | None = None


class BundleFacts(Record):
    """export/bundle/manifest.json, as far as it is shown."""

    classes: tuple[str, ...]
    accuracy: ClassScores
    int8: Int8Scores = Int8Scores()
    versions: dict[str, str] = Field(default_factory=dict)
    seed: int | None = None
    space: str | None = None
    digest: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    created: str | None = None
    costs: dict[str, int] = Field(default_factory=dict)


@dataclass(frozen=True)
class ImageFacts:
    """The images that accuracies are of; without counts where the run has none of its own."""

    name: str
    num_classes: int
    classes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FinishedRun:
    """The records of a finished run.

    Attributes:
        folder: of the run.
        config: as it was resolved.
        dataset: the images that accuracies are of.
        steps: of training; empty where the weights were made elsewhere.
        validations: during training, likewise.
        scores: of latency predictors, by device; one with a table of blocks instead has none.
        circumstances: of measurements, by device; devices without are absent.
        evaluations: of the search.
        search: its result.
        summary: of the run.
        graph_variants: None where the config names the graph variant.
        fits: of the search's surrogates; empty where its strategy fits none.
        understanding: effects of genes; None where too few subnets were scored.
        bundle: None where there is none.
        identities: what latencies were measured with, by device.
        hindsight: None where there are no weights.
        ranking: None where `edgenas study ranking` was not run.
        baselines: None where `edgenas study baselines` was not run.
        costs: of each call of a stage.
    """

    folder: Path
    config: Mapping[str, Any]
    dataset: ImageFacts
    steps: tuple[StepRow, ...]
    validations: tuple[ValidationRow, ...]
    scores: Mapping[str, PredictorScore]
    circumstances: Mapping[str, Mapping[str, Any]]
    evaluations: tuple[EvaluationRow, ...]
    search: SearchRecord
    summary: SummaryRecord
    graph_variants: VariantRecord | None
    fits: tuple[RoundRow, ...]
    understanding: UnderstandingRecord | None
    bundle: BundleFacts | None
    identities: Mapping[str, Mapping[str, Any]]
    hindsight: HindsightRecord | None
    ranking: RankingRecord | None
    baselines: BaselinesRecord | None
    costs: tuple[StageCostRow, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the run, in the config's order where it names them."""
        measured = self.summary.predictors
        named = [name for name in self.config.get("devices", ()) if isinstance(name, str) and name in measured]
        return (*named, *sorted(set(measured) - set(named)))

    def device_label(self, device: str) -> str:
        """Return a device's name with its processor where that is known, like `here (Intel Xeon)`."""
        cpu = self.circumstances.get(device, {}).get("cpu")
        return f"{device} ({cpu})" if isinstance(cpu, str) else device

    def scored_images(self, split: str) -> int:
        """Return how many of the run's images accuracies of a split are of; 0 where that is unknown."""
        images = self.dataset.counts.get(split, 0)
        limit = (self.config.get("search") or {}).get("validation_images") if split == "validation" else None
        return min(images, limit) if limit else images

    @property
    def networks(self) -> tuple[MeasuredNetwork, ...]:
        """The front, fastest first on the first device (as measured, else as predicted)."""
        device = self.devices[0]

        def key(network: MeasuredNetwork) -> tuple[float, str]:
            latency = network.latency.get(device)
            latency_us = float("inf") if latency is None else latency.p50_us or latency.predicted_us
            return latency_us, network.arch.id

        return tuple(sorted(self.summary.front, key=key))
