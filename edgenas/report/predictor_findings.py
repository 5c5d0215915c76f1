"""How accurate predicted latencies are, and the gain of the graph variant, in plain sentences."""

from __future__ import annotations

from statistics import median

from edgenas.records.profile import PredictorScore, VariantRecord
from edgenas.report.formats import number, percent
from edgenas.space.graph_variant import PLAIN_VARIANT

FEW_NETWORKS = 20
"""Held-out networks below which shares such as coverage are rough."""
NOISY = 0.05
"""Repeat noise above which a device is called noisy."""
POOR_TAU = 0.8
"""Kendall's tau below which a ranking by prediction is called unreliable."""


def graph_variant(variants: VariantRecord, device: str) -> str | None:
    """State the gain of the graph variant on a device; None where variants were not compared on it."""
    name, ratios = variants.graph_variant, variants.latency_ratio.get(device, {})
    chosen = sorted(ratios.get(name, ()))
    if not chosen:
        return None
    unit = f"of the plain variant's latency on {device}"
    if name == PLAIN_VARIANT:
        others = ", ".join(
            f"`{other}` {median(values):.2f}" for other, values in ratios.items() if other != PLAIN_VARIANT
        )
        medians = f"{others} {unit}, medians of {len(chosen)} networks"
        return f"Graphs are exported as torch writes them: no other graph variant gained a percent ({medians})"
    spread = f"median of {len(chosen)} networks; {chosen[0]:.2f} to {chosen[-1]:.2f}"
    return f"The exported graph variant is `{name}`, which takes {median(chosen):.2f} {unit} ({spread})"


def error(score: PredictorScore) -> str:
    """State the predictor's error in one phrase."""
    return (
        f"Predictions are off by {percent(score.mape)} on average on {score.n_test} unseen networks; "
        f"{percent(score.within_5, 0)} are within ±5 %"
    )


def reliability(score: PredictorScore) -> list[str]:
    """Return how far predictions can be trusted, warnings included, one sentence each."""
    return [text for check in (_noise, _baseline, _ranking, _intervals, _bias, _few) if (text := check(score))]


def _noise(score: PredictorScore) -> str:
    noise = score.repeat_noise
    if noise is None:
        return "Warning: the device's repeat noise is unknown, so the lowest possible error is unknown, too"
    if noise > NOISY:
        return (
            f"Warning: the device is noisy: repeated measurements of one network differ by {percent(noise)}, and no "
            "predictor can be more accurate than that"
        )
    if noise == 0:
        return ""
    ratio = f"{score.mape / noise:.1f}"
    return (
        f"Repeated measurements of one network differ by {percent(noise)}; the prediction error is {ratio} times that"
    )


def _baseline(score: PredictorScore) -> str:
    baselines = {"a line through MACs": score.mape_macs_linear, "a plain sum of blocks": score.mape_plain_sum}
    errors = {name: value for name, value in baselines.items() if value is not None}
    if not errors:
        return ""
    name = min(errors, key=errors.__getitem__)
    if errors[name] <= score.mape:
        return f"Warning: {name} is as accurate ({percent(errors[name])}); the predictor adds nothing"
    return f"The best simple baseline, {name}, is off by {percent(errors[name])}"


def _ranking(score: PredictorScore) -> str:
    tau = score.kendall_tau
    if tau is None or tau >= POOR_TAU:
        return ""
    return f"Warning: with a Kendall's tau of {tau:.2f}, networks of similar latency are often ranked wrongly"


def _intervals(score: PredictorScore) -> str:
    coverage = score.coverage_90
    if coverage is None:
        return ""
    # Two standard errors of a 90 % coverage counted over n_test networks.
    slack = 2 * (0.09 / max(score.n_test, 1)) ** 0.5
    if coverage < 0.9 - slack:
        return f"Warning: the 90 % intervals held for only {percent(coverage, 0)} of the networks; they are too narrow"
    return f"The 90 % intervals held for {percent(coverage, 0)} of the networks"


def _bias(score: PredictorScore) -> str:
    bias = score.bias
    if bias is None or abs(bias) < max(0.01, score.mape / 2):
        return ""
    side = "slower" if bias > 0 else "faster"
    return f"Warning: predictions are biased: networks are predicted {percent(abs(bias))} {side} than measured"


def _few(score: PredictorScore) -> str:
    if score.n_test >= FEW_NETWORKS:
        return ""
    return f"Warning: {score.n_test} unseen networks are few, so shares of them are rough"


SCORE_COLUMNS = ("on networks not used for fitting", "value")


def score_rows(score: PredictorScore) -> list[list[str]]:
    """Return a predictor's figures under `SCORE_COLUMNS`."""
    return [
        ["mean absolute error", percent(score.mape)],
        ["root mean square error", percent(score.rmspe)],
        ["bias (above 0: predicted too slow)", percent(score.bias)],
        ["within ±5 %", percent(score.within_5, 0)],
        ["within ±10 %", percent(score.within_10, 0)],
        ["Kendall's tau", number(score.kendall_tau)],
        ["coverage of the 90 % interval", percent(score.coverage_90, 0)],
        ["its median half-width", percent(score.median_half_width_90)],
        ["repeat noise of the device", percent(score.repeat_noise)],
        ["baseline: a line through MACs, mean absolute error", percent(score.mape_macs_linear)],
        ["baseline: plain sum of blocks, mean absolute error", percent(score.mape_plain_sum)],
        ["rows fitted, networks tested", f"{score.n_fit}, {score.n_test}"],
    ]
