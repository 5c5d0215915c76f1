"""What a report shows of evidence: of trust in the supernet, of the search's worth, of test images in hindsight."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgenas.report.search_values import Value


class Estimate(Value):
    """A figure and its 95 % interval; None where too few networks are known."""

    value: float | None
    low: float | None
    high: float | None
    count: int


class Taus(Value):
    """Kendall's tau with what subnets reach alone; `lead_over_macs` is that of `inherited` over that of `macs`.

    `uncalibrated` is absent where weights are averaged, which training's statistics are not of; `repeated`, the tau of
    one training alone with others that differ by their seeds, where each subnet was trained once.
    """

    inherited: Estimate
    uncalibrated: Estimate | None = None
    macs: Estimate
    lead_over_macs: Estimate
    repeated: float | None = None


class Agreement(Value):
    """Of some subnets: inherited minus alone, as a fraction, and taus; no figures where there are no subnets."""

    subnets: int
    gap: Estimate | None = None
    gap_uncalibrated: Estimate | None = None
    tau: Taus | None = None
    macs_least: int | None = None
    macs_greatest: int | None = None


class Compared(Value):
    """A subnet, inherited and alone."""

    arch: str
    macs: int
    grouped: bool
    inherited: float
    uncalibrated: float | None = None
    alone: float
    alone_uncalibrated: float | None = None
    seconds: float


class Trust(Value):
    """study/ranking/ranking.json."""

    dataset: str
    space: str
    weights: str | None
    epochs: float
    training_images: int
    validation_images: int
    seed: int
    repeats: int = 1
    supernet_from: str | None
    average: float | None = None
    seconds: float
    all: Agreement
    group: Agreement
    subnets: tuple[Compared, ...]


class Contender(Value):
    """A network that was trained within the time."""

    network: str
    seed: int
    val_top1: float
    test_top1: float
    p50_us: float
    seconds: float
    tried: int


class Spread(Value):
    """Over seeds."""

    mean: float
    least: float
    greatest: float


class Rival(Value):
    """A rival over its seeds."""

    test_top1: Spread
    val_top1: Spread
    p50_us: Spread
    seconds: Spread
    seeds_behind: int
    seeds: tuple[Contender, ...]


class CostRow(Value):
    """Seconds for so many budgets."""

    budgets: int
    shared_seconds: float
    alone_seconds: float


class Crossover(Value):
    """From how many budgets on a supernet costs no more: from at least and at most `budgets`, where it pays."""

    once_seconds: float | None
    per_budget_seconds: float | None
    alone_seconds: float | None
    alone_range_seconds: tuple[float, float] | None
    charged_seconds: dict[str, float]
    verdict: Literal["pays", "never", "unknown"]
    budgets: tuple[int, int] | None
    reason: str | None
    table: tuple[CostRow, ...]


class Worth(Value):
    """study/baselines/baselines.json; `left_out` holds seeds of a rival for which there was no network as fast.

    What older versions did not say is None: the digest of the file that was judged, and the lead's standard error.
    """

    dataset: str
    model_sha256: str | None = None
    supernet_from: str | None = None
    device: str
    test_images: int
    seconds: dict[str, float]
    edgenas: Contender
    rivals: dict[str, Rival]
    left_out: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    best_rival: str
    lead: float
    lead_error: float | None = None
    ahead: bool
    crossover: Crossover


class FrontScore(Value):
    """A network of the front on validation and on test images, as it was measured (fp32, not fine-tuned)."""

    arch: str
    val_top1: float
    test_top1: float


class ClassChange(Value):
    """Test images of a class: how many the chosen network and the largest subnet get right, and one of both alone."""

    name: str
    images: int
    chosen: int
    largest: int
    only_chosen: int
    only_largest: int


class Hindsight(Value):
    """export/hindsight.json; `within_budgets`: the largest subnet is that of those that the budgets allow."""

    front: tuple[FrontScore, ...]
    chosen: str
    largest: str
    within_budgets: bool = False
    classes: tuple[ClassChange, ...]
