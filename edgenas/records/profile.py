"""Records of the stage profile, in the folder latency/ of a run."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from edgenas.records.record import ArchText, Count, Fraction, Microseconds, NotNegative, Record
from edgenas.space.graph_variant import GraphVariant


class PredictorQuality(Record):
    """The accuracy of a latency predictor on networks that it was not fitted on. Rates are fractions.

    Attributes:
        mape: mean absolute error.
        within_5: share of networks predicted within 5 %.
        within_10: share of networks predicted within 10 %.
        kendall_tau: rank correlation of predicted and measured latency; None where all are equal.
        rmspe: root mean square error.
        bias: mean of (predicted - measured) / measured.
        n_fit: networks per fit (the complement of the smallest fold).
        n_test: networks predicted.
        repeat_noise: mean repeat noise of the networks' own measurements; None where the table does not state it.
        coverage_90: share of networks inside their 90 % interval; None where n_fit is too small for that.
        median_half_width_90: half width of that interval over the prediction; None as above.
        mape_macs_linear: error of a straight line through MACs, on the same folds.
        mape_plain_sum: error of the sum of block latencies without calibration.
    """

    mape: NotNegative
    within_5: Fraction
    within_10: Fraction
    kendall_tau: float | None
    rmspe: NotNegative | None
    bias: float | None
    n_fit: Count
    n_test: Count
    repeat_noise: NotNegative | None
    coverage_90: Fraction | None
    median_half_width_90: NotNegative | None
    mape_macs_linear: NotNegative | None
    mape_plain_sum: NotNegative | None


class HeldOutNetwork(Record):
    """A network that the predictor was not fitted on."""

    arch: ArchText
    predicted_us: float
    measured_us: Microseconds


class PredictorScore(PredictorQuality):
    """latency/<device>/score.json."""

    held_out: tuple[HeldOutNetwork, ...]

    @property
    def quality(self) -> PredictorQuality:
        """The figures without the networks that they were computed from."""
        return PredictorQuality.model_validate(self.model_dump(exclude={"held_out"}))


class TableMeta(Record):
    """latency/<device>/meta.json, as reports show it: what numbers must share to be comparable, and circumstances."""

    identity: dict[str, str | bool | int] = Field(default_factory=dict)
    circumstances: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def cpu(self) -> str | None:
        """The device's processor; None where it is unknown."""
        cpu = self.circumstances.get("cpu")
        return cpu if isinstance(cpu, str) else None


class VariantRecord(Record):
    """latency/graph_variant.json: the graph variant of a run, and latencies over those of the plainest variant.

    Attributes:
        graph_variant: the variant that networks are exported in.
        latency_ratio: latency ratios by device and variant, one for each timed network.
    """

    graph_variant: GraphVariant
    latency_ratio: dict[str, dict[GraphVariant, tuple[Microseconds, ...]]]


class PlannedRows(Record):
    """The number of blocks and networks that are to be measured on a device."""

    blocks: Count
    networks: Count


class ProfileRecord(Record):
    """latency/result.json.

    Attributes:
        planned: planned rows by measured device.
        predictors: predictor scores by device; None where a table has too few networks for a score.
        notes: a description of each device's predictions.
        graph_variant: the graph variant that networks are exported in, for fp32.
        graph_variants: measurements that chose it; None where the config names it, or where there is no choice.
    """

    planned: dict[str, PlannedRows]
    predictors: Annotated[dict[str, PredictorQuality | None], Field(min_length=1)]
    notes: tuple[str, ...]
    graph_variant: GraphVariant
    graph_variants: VariantRecord | None
