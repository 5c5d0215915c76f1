"""Candidates that were fine-tuned together: ranks agree with the column shown, and gains are signed."""

from __future__ import annotations

import pytest

from edgenas.deploy.bundle.shipped_wording import gain_words
from edgenas.records.comparison import CandidateComparison
from edgenas.records.finetune import HalvingSummary, ShelfGain, TunedCandidate
from edgenas.report import tuning_findings
from edgenas.space.arch import parse_arch

SEARCHED, SHELF = parse_arch("r8_w8-k3e1"), parse_arch("efficientnet-lite0:r64_w8-k3e1")


def summary(*scores: tuple[float, float], candidates: int = 2, worse: int = 0) -> HalvingSummary:
    """Return candidates with validation top-1 and the scores that rank them."""
    return HalvingSummary(
        candidates=tuple(
            TunedCandidate(
                arch=parse_arch(f"r{8 + rank}_w8-k3e1"), latency_us={}, rungs=1, val_top1=top1, val_score=score
            )
            for rank, (top1, score) in enumerate(scores)
        ),
        rungs=2,
        seconds=60.0,
        comparison=CandidateComparison(images=63, candidates=candidates, worse=worse, best_share=0.5),
        gain=None,
    )


def test_a_score_of_several_views_is_shown_where_it_ranks_networks() -> None:
    tuned = summary((0.8, 0.85), (0.9, 0.82))
    header, rows = tuning_findings.columns(tuned, []), tuning_findings.rows(tuned, SEARCHED, [])
    column = header.index("mean over views")
    assert [row[column] for row in rows] == ["85.0 %", "82.0 %"]
    assert "80.0 % validation top-1 (85.0 % as the mean over several views)" in tuning_findings.halving(tuned, SEARCHED)
    plain = summary((0.9, 0.9), (0.8, 0.8))
    assert "mean over views" not in tuning_findings.columns(plain, [])
    assert "views" not in tuning_findings.halving(plain, SEARCHED)


def test_only_networks_that_were_trained_as_long_are_compared() -> None:
    assert tuning_findings.comparison(summary((0.9, 0.9), candidates=1)) is None
    assert "do not distinguish it significantly from the other one" in str(
        tuning_findings.comparison(summary((0.9, 0.9)))
    )
    several = tuning_findings.comparison(summary((0.9, 0.9), candidates=4, worse=2))
    assert "distinguish it significantly from 2 of the other 3" in str(several)


@pytest.mark.parametrize(
    ("searched", "shelf", "interval", "ships", "words"),
    [
        (0.92, 0.9, (-0.01, 0.05), SEARCHED, "The search gained 2.0 points (95 % interval -1.0 to +5.0, "),
        (0.88, 0.9, (-0.05, 0.01), SHELF, "the search is behind it by 2.0 points (95 % interval -1.0 to +5.0, "),
        (
            0.92,
            0.9,
            (-0.01, 0.05),
            SHELF,
            "the search is ahead of it on these images by 2.0 points (95 % interval -1.0",
        ),
    ],
)
def test_the_gain_has_the_sign_of_the_network_that_ships(
    searched: float, shelf: float, interval: tuple[float, float], ships: object, words: str
) -> None:
    gain = ShelfGain(
        searched=SEARCHED, shelf=SHELF, searched_top1=searched, shelf_top1=shelf, interval=interval, images=63
    )
    sentence = gain_words(gain, SHELF if ships == SHELF else SEARCHED)
    assert words in sentence
    assert "63 test images" in sentence
