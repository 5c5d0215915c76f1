"""A finished run: the records of its folder, read together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import Field

from edgenas.config.run_config import RunConfig
from edgenas.records.baselines import BaselinesRecord
from edgenas.records.bundle import FileAccuracy
from edgenas.records.export import HindsightRecord
from edgenas.records.folder import StageCostRow, SummaryRecord
from edgenas.records.profile import PredictorScore, TableMeta, VariantRecord
from edgenas.records.ranking import RankingRecord
from edgenas.records.record import Record
from edgenas.records.search import EvaluationRow, RoundRow, SearchRecord
from edgenas.records.train import StepRow, ValidationRow
from edgenas.records.verify import UnderstandingRecord
from edgenas.report.shelf_findings import ShelfFacts


class Int8Scores(Record):
    """A manifest's `int8`, as far as it is shown."""

    accuracy: FileAccuracy | None = None


class BundleFacts(Record):
    """export/bundle/manifest.json, as far as it is shown."""

    classes: tuple[str, ...]
    accuracy: FileAccuracy
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
    """The images that accuracies are of.

    Attributes:
        name: name of the data set.
        num_classes: number of classes.
        classes: their names; none where the run has no images of its own.
        counts: images by split, likewise.
        scored: images by split that accuracies are counted over, likewise.
    """

    name: str
    num_classes: int
    classes: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    scored: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class FinishedRun:
    """The records of a finished run.

    Attributes:
        folder: the run folder.
        config: the config as it was resolved.
        images: the images that accuracies are of.
        steps: training steps; none where the weights were made elsewhere.
        validations: validations during training, likewise.
        scores: scores of latency predictors by device; a device known by a table of blocks has none.
        tables: meta.json of latency tables by device; nothing where a table is missing.
        evaluations: subnets that the search evaluated.
        search: result of the search.
        summary: summary of the run.
        graph_variants: None where the config names the graph variant.
        fits: surrogates of the search; none where its strategy fits none.
        understanding: effects of genes; None where too few subnets were scored.
        bundle: None where there is none.
        hindsight: None where there are no weights.
        ranking: None where `edgenas study ranking` was not run.
        baselines: None where `edgenas study baselines` was not run.
        costs: cost of each call of a stage.
        shelf: None where the run has no shelf.
    """

    folder: Path
    config: RunConfig
    images: ImageFacts
    steps: tuple[StepRow, ...]
    validations: tuple[ValidationRow, ...]
    scores: Mapping[str, PredictorScore]
    tables: Mapping[str, TableMeta]
    evaluations: tuple[EvaluationRow, ...]
    search: SearchRecord
    summary: SummaryRecord
    graph_variants: VariantRecord | None
    fits: tuple[RoundRow, ...]
    understanding: UnderstandingRecord | None
    bundle: BundleFacts | None
    hindsight: HindsightRecord | None
    ranking: RankingRecord | None
    baselines: BaselinesRecord | None
    costs: tuple[StageCostRow, ...]
    shelf: ShelfFacts | None

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the run, in the config's order."""
        return self.summary.devices

    def device_label(self, device: str) -> str:
        """Return a device's name with its processor where that is known, like `here (Intel Xeon)`."""
        cpu = self.tables[device].cpu
        return device if cpu is None else f"{device} ({cpu})"
