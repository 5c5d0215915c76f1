"""A predictor's score as rows of a table."""

from __future__ import annotations

from edgenas.report.formats import number, percent
from edgenas.report.values import Score


def score_rows(score: Score) -> dict[str, str]:
    """What was found of a predictor on networks it had not seen, in words and numbers."""
    return {
        "mean absolute error": percent(score.mape),
        "root mean square error": percent(score.rmspe),
        "bias (above 0: predicted too slow)": percent(score.bias),
        "within ±5 %": percent(score.within_5, 0),
        "within ±10 %": percent(score.within_10, 0),
        "Kendall tau": number(score.kendall_tau),
        "coverage of the 90 % interval": percent(score.coverage_90, 0),
        "its median half-width": percent(score.median_half_width_90),
        "repeat noise of the device": percent(score.repeat_noise),
        "baseline: a line through MACs, mean absolute error": percent(score.mape_macs_linear),
        "baseline: plain sum of blocks, mean absolute error": percent(score.mape_plain_sum),
        "rows fitted, networks tested": f"{score.n_fit}, {score.n_test}",
    }
