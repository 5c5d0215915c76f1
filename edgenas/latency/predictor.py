"""LatencyPredictor: block costs summed, then calibrated on whole networks; and its score on unseen networks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, TypeAdapter, ValidationError

from edgenas.errors import TableError, UserError, explained, shown
from edgenas.files import read_json, write_json
from edgenas.latency.block_cost import BlockCosts, KindRegression
from edgenas.latency.calibration import Calibration, fit_calibration, largest_coverage, linear_fit
from edgenas.latency.table import NETWORK, LatencyRow, LatencyTable
from edgenas.space.arch import Arch
from edgenas.space.blocks import BlockSpec
from edgenas.space.cost import cost
from edgenas.space.space import SearchSpace

Floats = npt.NDArray[np.float64]
SCORED_COVERAGE = 0.9
AGAIN = (
    "delete the latency/result.json of its run, then run `edgenas profile` on that: it is fitted again from the "
    "measurements, which are kept"
)
PositiveInt = Annotated[int, Field(gt=0, strict=True)]
FinitePositive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]


class LatencyPredictor:
    """Predicts the p50 latency of a space's networks on the device of a table.

    Attributes:
        num_classes_: of the networks predicted.
        blocks_: costs of single blocks.
        calibration_: the model fitted on whole networks; None where the table has none of this space.
        calibrated_: whether there is one. Without it a prediction is the plain sum of block costs, which is
            known to be too high, and there are no intervals.
    """

    num_classes_: int
    blocks_: BlockCosts
    calibration_: Calibration | None
    calibrated_: bool

    def __init__(self, space: SearchSpace, num_classes: int | None = None) -> None:
        """Store the space and the number of classes (None: the one that the table's networks share)."""
        self.space = space
        self.num_classes = num_classes

    def fit(self, table: LatencyTable) -> LatencyPredictor:
        """Fit on a table's blocks and on its networks of this space.

        Raises:
            TableError: no blocks, or no agreement on the number of classes.
        """
        self.num_classes_ = table_classes(self.space, table) if self.num_classes is None else self.num_classes
        networks = table.networks(self.space.structure_id, self.num_classes_)
        measured = {key: row.p50_us for key, row in table.blocks().items()}
        if not measured:
            raise TableError(f"the table of {table.identity.device} has no rows of blocks: run `edgenas profile RUN`")
        self._learn(BlockCosts.fit(measured), None)
        if networks:
            features = self._features([self.space.parse(row.key) for row in networks])
            p50 = np.array([row.p50_us for row in networks])
            self._learn(self.blocks_, fit_calibration(features, p50))
        return self

    def _learn(self, blocks: BlockCosts, calibration: Calibration | None) -> None:
        self.blocks_, self.calibration_ = blocks, calibration
        self.calibrated_ = calibration is not None
        self._known: dict[BlockSpec, tuple[float, float, float]] = {}

    def predict(self, archs: Sequence[Arch]) -> Floats:
        """Predicted p50 in microseconds, shape (n,).

        Raises:
            TableError: a block is neither measured nor inside the measured range.
        """
        features = self._features(archs)
        return _credible(features[:, 0] if self.calibration_ is None else self.calibration_.predict(features))

    def interval(self, archs: Sequence[Arch], coverage: float) -> Floats:
        """Prediction interval of the measured p50 in microseconds, shape (n, 2).

        Raises:
            TableError: not calibrated, or more coverage than the calibration networks support.
        """
        return _credible(self._calibration().interval(self._features(archs), coverage))

    def upper(self, archs: Sequence[Arch], risk: float) -> Floats:
        """Bound that the measured p50 exceeds with probability `risk`, microseconds, shape (n,).

        Raises:
            TableError: not calibrated, or less risk than the calibration networks support.
        """
        return _credible(self._calibration().upper(self._features(archs), risk))

    def _calibration(self) -> Calibration:
        if self.calibration_ is None:
            raise TableError(
                f"no network of {self.space.structure_id} with {self.num_classes_} classes was measured, so the "
                "prediction is a plain sum without an interval: run `edgenas profile RUN`"
            )
        return self.calibration_

    def _features(self, archs: Sequence[Arch]) -> Floats:
        """Sum of block costs, 1, number of blocks, MACs in millions, weights in megabytes; shape (n, 5).

        A block timed alone finds its weights in the cache; in a network each inference fetches them again.
        """
        networks = [self.space.unroll(arch, self.num_classes_) for arch in archs]
        self._look_up(spec for specs in networks for spec in specs)
        known = self._known
        features = np.ones((len(networks), 5))
        for row, specs in enumerate(networks):
            latency, macs, megabytes = np.sum([known[spec] for spec in specs], axis=0)
            features[row] = latency, 1, len(specs), macs, megabytes
        return features

    def _look_up(self, specs: Iterable[BlockSpec]) -> None:
        """Remember latency, MACs and weights of blocks not met before."""
        new = list(dict.fromkeys(spec for spec in specs if spec not in self._known))
        latencies = self.blocks_.of(new)
        for spec in new:
            on_paper = cost([spec])
            self._known[spec] = (latencies[spec], on_paper.macs / 1e6, on_paper.weight_bytes / 1e6)

    def save(self, path: Path) -> None:
        """Write what was learned as JSON."""
        value = {
            "space": self.space.structure_id,
            "num_classes": self.num_classes_,
            "measured_us": dict(self.blocks_.measured_us),
            "regressions": {kind: fit.to_json() for kind, fit in self.blocks_.regressions.items()},
            "calibration": self.calibration_.to_json() if self.calibration_ else None,
        }
        write_json(path, value)

    @classmethod
    def load(cls, path: Path, space: SearchSpace) -> LatencyPredictor:
        """Read what `save` wrote.

        Raises:
            TableError: the file is missing or broken, or was learned on another space.
        """
        try:
            value = read_json(path, AGAIN)
            if value["space"] != space.structure_id:
                raise TableError(f"{path}: learned on space {shown(value['space'])}, wanted {space.structure_id}")
            regressions = {k: KindRegression.from_json(k, v) for k, v in value["regressions"].items()}
            calibration = None if value["calibration"] is None else Calibration.from_json(value["calibration"])
            predictor = cls(space, TypeAdapter(PositiveInt).validate_python(value["num_classes"]))
            predictor.num_classes_ = value["num_classes"]
            measured = TypeAdapter(dict[str, FinitePositive]).validate_python(value["measured_us"])
            predictor._learn(BlockCosts(measured, regressions), calibration)
        except UserError as error:
            raise TableError(str(error)) from None
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            said = explained(error.errors()) if isinstance(error, ValidationError) else error
            raise TableError(f"{path} is not a saved latency predictor ({said}): delete it and {AGAIN}") from None
        return predictor


def _credible(latency_us: Floats) -> Floats:
    if not np.isfinite(latency_us).all():
        raise TableError(f"the latency predictor gives latencies that are no finite numbers: {AGAIN}")
    return latency_us


def table_classes(space: SearchSpace, table: LatencyTable) -> int:
    """The number of classes that all of a table's networks of `space` share.

    Raises:
        TableError: there are no such networks, or they differ.
    """
    rows = [row for row in table.rows if row.kind == NETWORK and row.space == space.structure_id]
    found = sorted({row.num_classes for row in rows})
    if len(found) != 1:
        came = f"networks of {', '.join(map(str, found))} classes" if found else "no network of this space"
        raise TableError(f"num_classes: the table has {came}; say LatencyPredictor(space, num_classes=…)")
    return found[0]


@dataclass(frozen=True)
class PredictorScore:
    """How well networks are predicted by fits that never saw them. Rates are fractions 0 to 1.

    Attributes:
        mape: mean absolute percentage error; `rmspe` its root mean square sister.
        within_5: share of networks predicted within 5 %; `within_10` within 10 %.
        kendall_tau: rank correlation of predicted and measured.
        bias: mean of (predicted - measured) / measured.
        n_fit: networks per fit (the smallest fold's complement); `n_test` networks predicted.
        repeat_noise: mean of the networks' own repeat noise (see LatencyRow): what no predictor can beat.
        coverage_90: share of networks inside their 90 % interval, and `median_half_width_90` that interval's
            half width relative to the prediction; None where n_fit does not support it.
        mape_macs_linear: baseline, a straight line through MACs, same folds.
        mape_plain_sum: baseline, the sum of block costs, no calibration.
        held_out: (arch id, predicted_us, measured_us) of every network.
    """

    mape: float
    within_5: float
    within_10: float
    kendall_tau: float
    rmspe: float
    bias: float
    n_fit: int
    n_test: int
    repeat_noise: float
    coverage_90: float | None
    median_half_width_90: float | None
    mape_macs_linear: float
    mape_plain_sum: float
    held_out: tuple[tuple[str, float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain numbers; `held_out` as a list of objects."""
        names = ("arch", "predicted_us", "measured_us")
        return {**asdict(self), "held_out": [dict(zip(names, row, strict=True)) for row in self.held_out]}


def score_predictor(
    space: SearchSpace, table: LatencyTable, num_classes: int | None = None, seed: int = 0, folds: int = 5
) -> PredictorScore:
    """Cross-validate: every network of `space` in the table is predicted by a fit on the other folds' ones.

    Raises:
        TableError: fewer than two networks a fold.
    """
    predictor = LatencyPredictor(space, num_classes).fit(table)
    rows = table.networks(space.structure_id, predictor.num_classes_)
    if len(rows) < 2 * folds:
        raise TableError(f"scoring in {folds} folds wants at least {2 * folds} measured networks, got {len(rows)}")
    features = predictor._features([space.parse(row.key) for row in rows])
    measured = np.array([row.p50_us for row in rows])
    fold = np.random.default_rng(seed).permutation(len(rows)) % folds
    predicted, baseline, bounds = _held_out(features, measured, fold)
    return _score(rows, features, predicted, baseline, bounds, len(rows) - int(np.bincount(fold).max()))


def _held_out(features: Floats, measured: Floats, fold: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats | None]:
    """Predictions, those of a line through MACs, and 90 % intervals where supported, by fits on other folds."""
    predicted, baseline, bounds = np.empty(len(fold)), np.empty(len(fold)), np.empty((len(fold), 2))
    for number in range(int(fold.max()) + 1):
        out = fold == number
        calibration = fit_calibration(features[~out], measured[~out])
        predicted[out] = calibration.predict(features[out])
        line = features[:, [3, 1]]
        baseline[out] = line[out] @ linear_fit(line[~out], measured[~out])
        if largest_coverage(int((~out).sum())) < SCORED_COVERAGE:
            bounds[:] = np.nan
            continue
        bounds[out] = calibration.interval(features[out], SCORED_COVERAGE)
    return predicted, baseline, None if np.isnan(bounds).any() else bounds


def _score(
    rows: Sequence[LatencyRow],
    features: Floats,
    predicted: Floats,
    baseline: Floats,
    bounds: Floats | None,
    n_fit: int,
) -> PredictorScore:
    from scipy.stats import kendalltau

    measured = np.array([row.p50_us for row in rows])
    error = predicted / measured - 1
    coverage = half_width = None
    if bounds is not None:
        coverage = float(np.mean((bounds[:, 0] <= measured) & (measured <= bounds[:, 1])))
        half_width = float(np.median((bounds[:, 1] - bounds[:, 0]) / 2 / predicted))
    return PredictorScore(
        mape=float(np.abs(error).mean()),
        within_5=float(np.mean(np.abs(error) <= 0.05)),
        within_10=float(np.mean(np.abs(error) <= 0.10)),
        kendall_tau=float(kendalltau(predicted, measured).statistic),
        rmspe=float(np.sqrt(np.mean(error**2))),
        bias=float(error.mean()),
        n_fit=n_fit,
        n_test=len(rows),
        repeat_noise=float(np.mean([row.repeat_noise for row in rows])),
        coverage_90=coverage,
        median_half_width_90=half_width,
        mape_macs_linear=float(np.abs(baseline / measured - 1).mean()),
        mape_plain_sum=float(np.abs(features[:, 0] / measured - 1).mean()),
        held_out=tuple((r.key, float(p), r.p50_us) for r, p in zip(rows, predicted, strict=True)),
    )
