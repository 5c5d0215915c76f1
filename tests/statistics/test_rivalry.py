"""A lead and its interval over other images, compared with drawing new images."""

from __future__ import annotations

import numpy as np
import pytest

from edgenas.statistics.baseline_comparison import ScoredNetwork, lead_error, summarise

RNG = np.random.default_rng(0)


def contender(name: str, right: np.ndarray, seed: int = 0) -> ScoredNetwork:
    return ScoredNetwork(name, seed, 0.9, float(right.mean()), 50.0, 60.0, 1)


def answers(rate: float, like: np.ndarray, agreement: float) -> np.ndarray:
    """A network's answers that are another's on a share of the images, and drawn on the others."""
    return np.where(RNG.random(len(like)) < agreement, like, RNG.random(len(like)) < rate)


def test_the_error_is_what_drawing_images_again_shows() -> None:
    own = RNG.random(4000) < 0.9
    baselines = np.array([answers(0.88, own, 0.8) for _ in range(3)])
    draws = RNG.integers(0, 4000, (2000, 4000))
    drawn = [own[one].mean() - baselines[:, one].mean() for one in draws]
    assert lead_error(own, baselines) == pytest.approx(np.std(drawn), rel=0.08)
    # All answer the same images, so it is less than that of two networks that know nothing of each other.
    assert lead_error(own, baselines) < 0.8 * np.hypot(own.std(), baselines[0].std()) / 4000**0.5


def test_the_lead_is_over_the_best_baseline_in_the_mean_of_its_seeds() -> None:
    own, worse = np.repeat([True, False], [90, 10]), np.repeat([True, False], [80, 20])
    better = np.array([np.repeat([True, False], [n, 100 - n]) for n in (84, 94)])
    found = summarise(
        contender("own", own),
        {"worse": [contender("a", worse)], "better": [contender("b", one, seed) for seed, one in enumerate(better)]},
        own,
        {"worse": worse[None], "better": better},
    )
    assert found["best_baseline"] == "better"
    assert found["lead"] == pytest.approx(0.01)
    assert found["lead_error"] == lead_error(own, better)
    assert found["ahead"]
    assert [found["baselines"][name]["seeds_behind"] for name in ("worse", "better")] == [1, 1]
    assert found["baselines"]["better"]["test_top1"] == {"mean": pytest.approx(0.89), "least": 0.84, "greatest": 0.94}
