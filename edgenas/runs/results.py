"""What stages leave in their result files, checked before it is used: files get damaged, edited and mixed up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgenas.budget import BudgetText
from edgenas.errors import RunFolderError, SpaceError, explained, shown
from edgenas.files import read_jsonl
from edgenas.profiling.verdict import Verdict
from edgenas.space.space import SearchSpace

Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Microseconds = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
# The model is read from there: a path that leads out of the run folder is none of ours.
InsideRun = Annotated[str, Field(pattern=r"^[a-z]+(/[\w-]+)*(\.onnx)?$")]


class _Result(BaseModel):
    """Extra keys are passed over, so that later versions may write more."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class Profiled(_Result):
    """latency/result.json."""

    predictors: Annotated[dict[str, dict[str, float | None] | None], Field(min_length=1)]


class Trained(_Result):
    """supernet/result.json."""

    params: Count
    train_seconds: NotNegative
    images_per_second: NotNegative
    weights: str | None = None


class Found(_Result):
    """A subnet of the front."""

    arch: str
    val_top1: Fraction


class Sought(Found):
    """A subnet of the front, and what every objective says of it."""

    objectives: dict[str, NotNegative] = Field(default_factory=dict)


class Searched(_Result):
    """search/result.json."""

    strategy: str
    refits: Annotated[int, Field(ge=0)] = 0
    asked: Count | None = None
    evaluations: Count
    seconds: NotNegative
    hypervolume: NotNegative
    reference_point: list[float]
    hypervolume_by_batch: list[NotNegative]
    evaluations_by_batch: list[Count]
    budgets: Annotated[list[BudgetText], Field(min_length=1)]
    front: Annotated[list[Sought], Field(min_length=1)]


class Measured(_Result):
    """What a subnet took on one device; None where it is not measured, or an interval is not known."""

    predicted_us: Microseconds
    interval_us: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    coverage: Fraction | None
    p50_us: Microseconds | None
    p95_us: Microseconds | None
    verdict: Verdict | None


class QuantisedFile(_Result):
    """The int8 form of a subnet of the front."""

    model: InsideRun
    quantiser_recipe: str
    recipes_tried: dict[str, Fraction]
    fp32_top1: Fraction

    @model_validator(mode="after")
    def _chosen_was_tried(self) -> QuantisedFile:
        if self.quantiser_recipe not in self.recipes_tried:
            raise ValueError(f"quantiser_recipe is {self.quantiser_recipe}, which is not among recipes_tried")
        return self


class QuantisedRow(QuantisedFile):
    """A row of verify/int8.jsonl."""

    source_sha256: str
    sha256: str


class Checked(Found):
    """A subnet of the front, as measured."""

    val_top1_interval: Annotated[list[Fraction], Field(min_length=2, max_length=2)] | None = None
    val_top1_int8: Fraction | None = None
    deployed_top1: Fraction | None = None
    int8: QuantisedFile | None = None
    dropped: bool
    dropped_because: str | None
    eligible: bool
    latency: Annotated[dict[str, Measured], Field(min_length=1)]


class Foreseen(_Result):
    """What was predicted of a network before it was measured, and what it then took."""

    arch: str
    predicted_us: Microseconds
    interval_us: Annotated[list[float], Field(min_length=2, max_length=2)] | None
    coverage: Fraction | None
    p50_us: Microseconds


class Verified(_Result):
    """verify/result.json."""

    first_predictions: dict[str, list[Foreseen]]

    front: Annotated[list[Checked], Field(min_length=1)]
    candidates: Annotated[list[str], Field(min_length=1)]
    chosen: str
    verdict: Verdict | None
    chosen_by: Literal["best", "knee", "weighted"] = "best"
    chosen_as: str | None = None
    val_top1: Fraction
    model: InsideRun | None
    refits: Annotated[int, Field(ge=0)] = 0


class Shipped(_Result):
    """What the shipped file took on one device, and whether that is within the budget; None where there is none."""

    p50_us: Microseconds
    p95_us: Microseconds
    ci_low_us: Microseconds
    ci_high_us: Microseconds
    verdict: Verdict | None
    limited: Literal["p50", "p95"] | None
    limit_us: Microseconds | None
    value_us: Microseconds | None
    upper_us: Microseconds | None
    sessions: Annotated[int, Field(ge=1)]
    repeated: bool

    @model_validator(mode="after")
    def _verdict_has_a_limit(self) -> Shipped:
        if self.verdict is not None and None in (self.limited, self.limit_us, self.value_us):
            raise ValueError("verdict is stated without limited, limit_us and value_us")
        return self


class Chosen(Found):
    """The subnet that was handed over."""

    latency: dict[str, Shipped]
    verdict: Verdict | None
    test_top1: Fraction
    onnx: InsideRun
    bundle: InsideRun


class Quantised(_Result):
    """The int8 form of the subnet that was handed over."""

    onnx: InsideRun
    val_top1: Fraction
    test_top1: Fraction
    size_bytes: Count
    notes: list[str]


class Exported(_Result):
    """export/result.json."""

    chosen: Chosen
    notes: list[str]
    int8: Quantised | None = None


class Supernet(_Result):
    """What a fine-tuned subnet inherited its weights from: the images it was trained, and the weights' digest."""

    dataset: str
    weights: str


class Finetuned(_Result):
    """finetune/result.json; older versions said less."""

    arch: str
    dataset: str
    data_digest: str
    training_images: Count | None = None
    epochs: NotNegative | None = None
    start: str | None = None
    teacher: str | None = None
    learning_rate_share: NotNegative | None = None
    supernet: Supernet | None = None
    val_top1_before: Fraction | None
    val_top1_after: Fraction
    calibration_images: Annotated[int, Field(gt=0)]
    seconds: NotNegative
    threads: Count | None = None


class Evaluated(_Result):
    """A row of search/evaluations.jsonl."""

    arch: str
    error: Fraction
    # Earlier versions kept less; their rows are worked out again.
    worst_class_error: Fraction | None = None
    latency_us: Annotated[dict[str, Microseconds], Field(min_length=1)]
    weights: str
    calibration_images: Count | None = None
    validation_images: Count | None = None
    seconds: NotNegative


KINDS: dict[str, type[_Result]] = {
    "profile": Profiled,
    "train": Trained,
    "search": Searched,
    "verify": Verified,
    "finetune": Finetuned,
    "export": Exported,
}


def check_result(stage: str, value: Mapping[str, Any], path: Path, space: SearchSpace) -> None:
    """Refuse a stage's result that is not as the stage wrote it.

    Raises:
        RunFolderError: what is wrong is named, and how to get it right.
    """
    again = f"delete it and run `edgenas {stage}` again on its run folder"
    try:
        KINDS[stage].model_validate(value)
        for arch in _archs(value):
            space.parse(arch)
        _check_whole(stage, value)
    except ValidationError as error:
        raise RunFolderError(f"{path}: {explained(error.errors())}: {again}") from None
    except SpaceError as error:
        raise RunFolderError(f"{path}: {error}: {again}") from None


def check_finetuned(value: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the result of one fine-tuned network.

    Raises:
        RunFolderError: it is not as it was written.
    """
    try:
        Finetuned.model_validate(value)
    except ValidationError as error:
        raise RunFolderError(f"{path}: {explained(error.errors())}: delete {path.parent}") from None
    return value


def _archs(value: Mapping[str, Any]) -> Iterator[str]:
    yield from (entry["arch"] for entry in value.get("front", ()))
    yield from value.get("candidates", ())
    if "chosen" in value:
        yield value["chosen"]["arch"] if isinstance(value["chosen"], dict) else value["chosen"]


def _check_whole(stage: str, value: Mapping[str, Any]) -> None:
    """What holds between the parts of a result."""
    if stage == "search" and len(value["hypervolume_by_batch"]) != len(value["evaluations_by_batch"]):
        raise SpaceError("hypervolume_by_batch and evaluations_by_batch are not of one length")
    if stage == "verify":
        front = [entry["arch"] for entry in value["front"]]
        for arch in (value["chosen"], *value["candidates"]):
            if arch not in front:
                raise SpaceError(f"{shown(arch)} is chosen or a candidate, but is not in the front")


def read_evaluations(path: Path, space: SearchSpace) -> list[dict[str, Any]]:
    """Rows of search/evaluations.jsonl.

    Raises:
        RunFolderError: a row is none of ours.
    """

    def check(row: Any) -> None:
        Evaluated.model_validate(row)
        space.parse(row["arch"])

    return _checked(path, check, "delete that line, it is worked out again")


def _checked(path: Path, check: Callable[[Any], object], again: str) -> list[dict[str, Any]]:
    rows = read_jsonl(path)
    for number, row in enumerate(rows, start=1):
        try:
            check(row)
        except (ValidationError, SpaceError) as error:
            said = explained(error.errors()) if isinstance(error, ValidationError) else error
            raise RunFolderError(f"{path}, row {number}: {said}: {again}") from None
    return rows
