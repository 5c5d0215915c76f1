"""How far predictions of latency can be trusted, and what the graph variant gained, in plain sentences."""

from __future__ import annotations

from statistics import median

from edgenas.report.formats import percent
from edgenas.report.values import Run, Score

PLAIN_VARIANT = "direct"
FEW_NETWORKS = 20
"""Held-out networks below which shares such as coverage are rough."""
NOISY = 0.05
"""Repeat noise above which a device is called unsteady."""
POOR_TAU = 0.8
"""Kendall tau below which a ranking by prediction is called unreliable."""


def graph_variant(run: Run, device: str) -> str | None:
    """What the graph variant gained on a device; None where none was compared there."""
    ratios = {} if run.graph_variants is None else run.graph_variants.latency_ratio.get(device, {})
    own = sorted(ratios.get(run.graph_variants.graph_variant, ())) if run.graph_variants else []
    if not own or run.graph_variants is None:
        return None
    where = f"of the plain variant's latency on {device}"
    if run.graph_variants.graph_variant == PLAIN_VARIANT:
        others = ", ".join(f"`{name}` {median(values):.2f}" for name, values in ratios.items() if name != PLAIN_VARIANT)
        told = f"{others} {where}, medians of {len(own)} networks"
        return f"Graphs are exported as torch writes them: no other graph variant gained a percent ({told})."
    spread = f"median of {len(own)} networks; {own[0]:.2f} to {own[-1]:.2f}"
    chosen = run.graph_variants.graph_variant
    return f"The exported graph variant is `{chosen}`, which takes {median(own):.2f} {where} ({spread})."


def predictor(score: Score) -> str:
    """The predictor's error in one phrase."""
    return (
        f"Predictions miss by {percent(score.mape)} on average on {score.n_test} unseen networks; "
        f"{percent(score.within_5, 0)} lie within ±5 %"
    )


def predictor_warnings(score: Score) -> list[str]:
    """What speaks for and against trusting the predictor, one sentence each."""
    return [sentence for check in (_noise, _baseline, _ranking, _intervals, _bias, _few) if (sentence := check(score))]


def _noise(score: Score) -> str:
    noise = score.repeat_noise
    if noise is None:
        return "Warning: the device's repeat noise is unknown, so nobody can say how good a prediction could be."
    if noise > NOISY:
        return (
            f"Warning: the device is unsteady: the same network, timed again, differs by {percent(noise)}; no "
            "predictor can do better than that."
        )
    return (
        f"The same network, timed again, differs by {percent(noise)}: the prediction error is "
        f"{score.mape / noise:.1f} times what repeating a measurement costs."
        if noise > 0
        else ""
    )


def _baseline(score: Score) -> str:
    baselines = {"a line through MACs": score.mape_macs_linear, "a plain sum of blocks": score.mape_plain_sum}
    known = {name: value for name, value in baselines.items() if value is not None}
    if not known:
        return ""
    name = min(known, key=lambda each: known[each])
    if known[name] <= score.mape:
        return f"Warning: {name} does as well ({percent(known[name])}); the predictor adds nothing here."
    return f"The best simple baseline, {name}, misses by {percent(known[name])}."


def _ranking(score: Score) -> str:
    tau = score.kendall_tau
    if tau is None or tau >= POOR_TAU:
        return ""
    return f"Warning: a Kendall tau of {tau:.2f} means that close networks are often ranked the wrong way round."


def _intervals(score: Score) -> str:
    coverage = score.coverage_90
    if coverage is None:
        return ""
    # Two standard errors of a 90 % coverage counted over n_test networks.
    slack = 2 * (0.09 / max(score.n_test, 1)) ** 0.5
    if coverage < 0.9 - slack:
        return f"Warning: the 90 % intervals held for only {percent(coverage, 0)} of the networks; they are too narrow."
    return f"The 90 % intervals held for {percent(coverage, 0)} of the networks."


def _bias(score: Score) -> str:
    bias = score.bias
    if bias is None or abs(bias) < max(0.01, score.mape / 2):
        return ""
    side = "slower" if bias > 0 else "faster"
    return f"Warning: predictions lean one way: networks look {percent(abs(bias))} {side} than they are."


def _few(score: Score) -> str:
    if score.n_test >= FEW_NETWORKS:
        return ""
    return f"Warning: {score.n_test} unseen networks are few; shares counted over them are rough."
