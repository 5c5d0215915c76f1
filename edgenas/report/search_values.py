"""What a report shows of a search, as frozen values. Rates are fractions."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Value(BaseModel):
    """Extra keys are passed over, so that later stages may write more than is shown."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Evaluation(Value):
    """An arch the search evaluated."""

    arch: str
    error: float
    latency_us: dict[str, float]


class Objective(Value):
    """What a search minimised."""

    name: str
    unit: str


class Unscored(Value):
    """A subnet that could not be scored."""

    arch: str
    cause: str


class Reach(Value):
    """What the space offers for a budget, in the budget's unit; `share` of it is within the budget."""

    smallest: float
    median: float
    largest: float
    share: float


class Feasibility(Value):
    """What the space offers for each budget, in their order, and the share of it that is within all."""

    share: float
    budgets: tuple[Reach, ...]


class Foreseen(Value):
    """How well a model foresaw values that it was not shown; `rmse` in the objective's unit."""

    rows: int
    rmse: float
    kendall_tau: float
    coverage_90: float


class Model(Value):
    """A search's model of one objective: leaving one out, and on the batch that was evaluated next."""

    kind: str
    left_out: Foreseen
    next_batch: Foreseen | None


class Fit(Value):
    """A row of search/rounds.jsonl."""

    evaluations: int
    hypervolume: float
    models: dict[str, Model]


class Effect(Value):
    """What a group of genes does: `change` from its smallest to its largest choices, `share` of the variance."""

    change: float
    share: float


class GeneEffects(Value):
    """What a group of genes does to top-1 and to latency on each device."""

    name: str
    val_top1: Effect
    latency_us: dict[str, Effect]


class GeneMove(Value):
    """One gene of the chosen network a step up or down: what changes, top-1 as `scored` or as the `model` foresees.

    `costs` are MACs and bytes, by name; none in runs of older versions.
    """

    gene: str
    before: float
    after: float
    arch: str
    latency_us: dict[str, float]
    costs: dict[str, float] = Field(default_factory=dict)
    within_budgets: bool
    val_top1: float
    deviation: float | None
    source: str


class AccuracyModel(Foreseen):
    """The model that is asked about subnets that were not scored."""

    kind: str


class Understanding(Value):
    """verify/understanding.json."""

    evaluations: int
    model: AccuracyModel
    genes: tuple[GeneEffects, ...]
    moves: tuple[GeneMove, ...]


class SearchFacts(Value):
    """search/result.json."""

    strategy: str
    evaluations: int
    seconds: float
    hypervolume: float
    reference_point: tuple[float, ...]
    hypervolume_by_batch: tuple[float, ...]
    evaluations_by_batch: tuple[int, ...]
    # Earlier versions had these two objectives alone, and kept no more.
    objectives: tuple[Objective, ...] = ()
    origins: dict[str, int] = Field(default_factory=dict)
    exhausted: bool = False
    failures: tuple[Unscored, ...] = ()
    feasibility: Feasibility | None = None
