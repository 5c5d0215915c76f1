"""Timings of a plan: within their allowance on any space, and near the truth on a device of known times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.config.reading import load_config
from edgenas.config.run_config import RunConfig
from edgenas.space.covering_samples import macs_of
from edgenas.stages.planning import plan_timing
from edgenas.stages.planning.plan_timing import Timing, extrapolated, time_network

ALLOWED = plan_timing.TRAINING_SECONDS + plan_timing.SCORING_SECONDS


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG)
    monkeypatch.chdir(tmp_path)
    return load_config(Path("small.yaml"), ["train.batch_size=32"])


def within_half(planned: float, truth: float) -> bool:
    return truth / 1.5 <= planned <= 1.5 * truth


class Clock:
    """A machine on which an image costs so many seconds a multiply-accumulate, and each call as much as some images."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds_per_mac: float, fixed_images: float) -> None:
        self.now, self.calls = 0.0, list[int]()
        self.seconds_per_mac, self.fixed = seconds_per_mac, fixed_images
        monkeypatch.setattr(plan_timing.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(plan_timing, "_time_step", self.step)
        monkeypatch.setattr(plan_timing, "_time_scoring", self.scoring)

    def took(self, macs: float, images: int) -> float:
        self.calls.append(images)
        seconds = self.seconds_per_mac * macs * (self.fixed + images)
        self.now += seconds
        return seconds

    def step(self, net, batch, labels, config, step, steps) -> float:  # type: ignore[no-untyped-def]
        plan = plan_timing.plan_step(net.space, config.training, config.seed, step, steps)
        return 3 * self.took(float(macs_of(net.space, plan.archs).sum()), len(batch))

    def scoring(self, net, arch, images) -> float:  # type: ignore[no-untyped-def]
        return 2 * self.took(float(macs_of(net.space, [arch])[0]), len(images))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], Clock]:
    return lambda seconds_per_mac, fixed: Clock(monkeypatch, seconds_per_mac, fixed)


@pytest.mark.parametrize("seconds_per_mac", [1e-9, 1e-7, 1e-6, 1e-5])
@pytest.mark.parametrize("fixed", [0.0, 1.0])
def test_steps_and_scores_are_near_the_truth_within_the_allowance(
    config: RunConfig, clock: Callable[[float, float], Clock], seconds_per_mac: float, fixed: float
) -> None:
    machine, space, steps = clock(seconds_per_mac, fixed), config.load_space().with_classes(10), 40
    times = time_network(config, space, steps)
    plans = [plan_timing.plan_step(space, config.training, config.seed, step, steps) for step in range(steps)]
    macs = sum(macs_of(space, plan.archs).sum() for plan in plans) / steps
    assert within_half(times.step, 3 * seconds_per_mac * macs * (fixed + 32))
    middle, share = plan_timing._middle(space)
    mean_macs = macs_of(space, [middle])[0] / share
    assert within_half(times.scored_image, seconds_per_mac * mean_macs * (fixed + 256) / 256)
    assert within_half(times.trained_image, 3 * seconds_per_mac * mean_macs * (fixed + 32) / 32)
    # The smallest batches are timed twice, whatever they take.
    least = 2 * seconds_per_mac * ((fixed + 4) * 3 * macs * 1.6 + (fixed + 32) * 2 * mean_macs * 1.6)
    assert machine.now <= max(ALLOWED, least)
    assert max(machine.calls) <= 256


def twice(sizes: list[int]) -> list[int]:
    return [size for size in sizes for _ in range(2)]


def test_a_fast_machine_times_whole_batches(config: RunConfig, clock: Callable[[float, float], Clock]) -> None:
    machine = clock(1e-9, 0.0)
    time_network(config, config.load_space().with_classes(10), 40)
    assert machine.calls == [*twice([4, 8, 16, 32, 32, 32]), *twice([32, 64, 128, 256, 256, 256])]


def test_progress_is_reported(config: RunConfig, clock: Callable[[float, float], Clock]) -> None:
    clock(1e-9, 0.0)
    reported: list[tuple[str, int, int]] = []
    time_network(config, config.load_space().with_classes(10), 40, lambda *what: reported.append(what))
    assert reported == [("timing training steps", 0, 2), ("timing a scoring", 1, 2), ("timing a scoring", 2, 2)]


@pytest.mark.parametrize("fixed", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("sizes", [[2], [2, 4], [2, 4, 8], [2, 4, 8, 16]])
def test_a_line_is_within_half_of_a_law_with_a_fixed_part(sizes: list[int], fixed: float) -> None:
    law = {n: 0.1 * (fixed + n) for n in (*sizes, 64)}
    assert within_half(extrapolated([Timing(n, law[n]) for n in sizes], 64), law[64])


@pytest.mark.parametrize("sizes", [[4], [4, 8], [4, 8, 16]])
def test_what_is_built_for_a_network_does_not_grow_with_the_images(sizes: list[int]) -> None:
    # As on a space of 224 pixels, where building takes as long as a few images.
    timings = [Timing(n, 0.02 * n, built=0.2) for n in sizes]
    assert extrapolated(timings, 32) == pytest.approx(0.2 + 0.02 * 32, rel=0.25)


def test_one_pause_of_the_machine_does_not_count() -> None:
    paused = [Timing(8, 0.8), Timing(16, 6.0)]
    assert extrapolated(paused, 64) == pytest.approx(6.4)
    assert extrapolated([Timing(64, 6.4), Timing(64, 60.0), Timing(64, 6.3)], 64) == 6.4
