"""Records at the top of a run folder: its images, measuring sessions, costs and summary."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgenas.budget import BudgetText
from edgenas.records.comparison import CandidateComparison
from edgenas.records.export import ShippedInt8, ShippedNetwork
from edgenas.records.finetune import FinetuneSummary, HalvingSummary
from edgenas.records.init import InitRecord
from edgenas.records.profile import PredictorQuality
from edgenas.records.record import Count, Fraction, Microseconds, NotNegative, Record
from edgenas.records.search import ObjectiveRow
from edgenas.records.verify import FirstPrediction, MeasuredNetwork


class DataRecord(Record):
    """data.json: the images of a run.

    Attributes:
        name: name of the data set.
        num_classes: number of classes.
        classes: names in the order of the labels.
        counts: images by split.
        class_counts: images of each class by split.
        presize: height and width in pixels that images are resized to before they are cropped; None for none.
        broken: files that could not be read and are left out.
        equal_images: pairs of equal images in several splits.
        copies: files that are left out because they equal another.
        notes: for the user.
        digest: digest of all images and labels.
    """

    name: str
    num_classes: Annotated[int, Field(gt=0)]
    classes: tuple[str, ...]
    counts: dict[str, Count]
    class_counts: dict[str, tuple[Count, ...]]
    presize: int | None
    broken: tuple[str, ...]
    equal_images: int
    copies: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


class SessionRow(Record):
    """A row of sessions.jsonl: one measuring session.

    Attributes:
        device: the measured device.
        files: digest of the names and contents of the files that were timed.
        sentinel_p50_us: median of the sentinel over the session's processes.
        state: `kept`; `disturbed`, so that it is repeated and not counted; `withdrawn`: earlier sessions of these
            files are not counted, because the files are measured again.
        repeated: whether this is the repetition of a disturbed session.
    """

    device: str
    files: str
    sentinel_p50_us: Microseconds
    state: Literal["kept", "disturbed", "withdrawn"]
    repeated: bool


class StageCost(Record):
    """The cost of a stage; `energy_joules` is None where it, or a part of it, cannot be read."""

    seconds: NotNegative
    energy_joules: NotNegative | None


class StageCostRow(StageCost):
    """A row of costs.jsonl: the cost of one call of a stage."""

    stage: str
    finished: bool


class SupernetSummary(Record):
    """The supernet, how it was trained, and the cost of its training; see `TrainRecord`."""

    params: Count
    train_seconds: NotNegative
    images_per_second: NotNegative
    augmentation: str | None = None
    class_weights: tuple[NotNegative, ...] | None = None


class SearchSummary(Record):
    """The search in figures."""

    strategy: str
    evaluations: Count
    seconds: NotNegative
    hypervolume: NotNegative
    reference_point: tuple[float, ...]
    objectives: tuple[ObjectiveRow, ...]
    exhausted: bool


class Choice(Record):
    """The choice of the network: `by` is the option, `words` the same for people."""

    by: str
    words: str


class AccuracySummary(Record):
    """The source of accuracies in a run without a supernet of its own: a file of measured networks, or a predictor."""

    file: str | None = None
    predictor: str | None = None
    sha256: str
    dataset: str
    rows: Count | None = None
    rmse_points: NotNegative | None = None
    kendall_tau: float | None = None
    coverage_90: Fraction | None = None


class SummaryRecord(Record):
    """summary.json: the results of a run in one file.

    Attributes:
        name: name of the run.
        seed: seed of the run.
        space: name of the search space.
        space_id: its structure_id.
        space_size: number of architectures; rounded to a float beyond 63 bits.
        dataset: name of the images that accuracies are of.
        num_classes: where the run has no images of its own.
        budgets: as the search used them.
        supernet: None in a run without one.
        init: the pretrained network that training started from; None where `train.init` names none.
        accuracy: None in a run that scores with its own supernet.
        predictors: predictor scores by device; None where there is no score.
        search: in figures.
        choice: the choice of the network.
        comparison: how far validation distinguishes the candidates of `verify`; None without images.
        front: the measured networks.
        first_predictions: predictions made before measuring, by device.
        chosen: the network that ships, or in a run without weights the first candidate.
        int8: None where there is no int8 file.
        finetune: None where there was none.
        halving: None where one network was fine-tuned, or none.
        notes: for the user.
    """

    name: str
    seed: int
    space: str
    space_id: str
    space_size: int | float
    dataset: str
    num_classes: Count | None = None
    budgets: tuple[BudgetText, ...]
    supernet: SupernetSummary | None = None
    init: InitRecord | None = None
    accuracy: AccuracySummary | None = None
    predictors: dict[str, PredictorQuality | None]
    search: SearchSummary
    choice: Choice
    comparison: CandidateComparison | None = None
    front: tuple[MeasuredNetwork, ...]
    first_predictions: dict[str, tuple[FirstPrediction, ...]]
    chosen: ShippedNetwork
    int8: ShippedInt8 | None = None
    finetune: FinetuneSummary | None = None
    halving: HalvingSummary | None = None
    notes: tuple[str, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The devices of the run, in the config's order."""
        return tuple(self.predictors)
