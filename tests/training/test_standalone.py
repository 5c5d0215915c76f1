"""Standalone training of one network: what it depends on, and that it resumes where it stopped."""

from __future__ import annotations

import copy
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from halves import Killed
from little_subnet import CALIBRATION_IMAGES, CONFIG, digits
from spaces import SMALL

from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.errors import UncalibratedError
from edgenas.space.mobilenet_v3 import mobilenet_v3_small
from edgenas.supernet import depthwise
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint, standalone
from edgenas.training.data.dataset import Dataset
from edgenas.training.materialise import recalibrate, top1, uncalibrated_top1
from edgenas.training.standalone import fresh_subnet, step_seconds, steps_of, train_network

STEPS = 60


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


def fresh(config: TrainConfig = CONFIG, seed: int = 1) -> Subnet:
    return fresh_subnet(SMALL.with_classes(10).unroll(SMALL.smallest), config, seed, arch=SMALL.smallest)


def quiet(done: int, total: int) -> None:
    pass


def trained(
    dataset: Dataset, folder: Path | None = None, progress: Callable[[int, int], None] = quiet, **update: object
) -> Subnet:
    config = CONFIG.model_copy(update=update)
    net = fresh(config)
    train_network(
        net, dataset.train, config, steps=STEPS, seed=3, progress=progress, average=config.average, folder=folder
    )
    return net


def test_equal_seeds_give_equal_weights_and_do_not_change_torchs_seed() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, again, other = fresh().state_dict(), fresh().state_dict(), fresh(seed=2).state_dict()
    assert torch.rand(1) == expected
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert not torch.equal(first["blocks.stem.conv.conv.weight"], other["blocks.stem.conv.conv.weight"])


def test_last_norms_begin_at_zero_if_the_config_asks_for_it() -> None:
    config = CONFIG.model_copy(update={"zero_last_norm": True})
    net = fresh_subnet(SMALL.with_classes(10).unroll(SMALL.largest), config, 0)
    scales = {name: block.project.norm.weight for name, block in net.blocks.items() if hasattr(block, "project")}
    zeros = {name for name, scale in scales.items() if not scale.any()}
    residual = {name for name in scales if net.blocks[name].residual}
    assert zeros == residual
    assert zeros


@pytest.mark.parametrize("update", [{}, {"average": 0.9}, {"augment": AugmentConfig(level="strong")}])
def test_stopped_at_any_step_it_ends_with_the_bits_of_an_undisturbed_one(
    dataset: Dataset, tmp_path: Path, update: dict[str, object]
) -> None:
    def killing(done: int, total: int) -> None:
        if done in (17, 40) and done not in killed:
            killed.append(done)
            raise Killed

    killed: list[int] = []
    undisturbed = trained(dataset, **update)
    for _ in range(2):
        with pytest.raises(Killed):
            trained(dataset, tmp_path, killing, checkpoint_seconds=0.0, **update)
    resumed = trained(dataset, tmp_path, killing, checkpoint_seconds=0.0, **update)
    torch.testing.assert_close(resumed.state_dict(), undisturbed.state_dict(), rtol=0, atol=0)


def test_a_signal_is_deferred_until_a_checkpoint_is_written(dataset: Dataset, tmp_path: Path) -> None:
    def stopping(done: int, total: int) -> None:
        if done == 9:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trained(dataset, tmp_path, stopping)
    # The signal came after the ninth step, and the tenth was not left half done.
    assert checkpoint.read(tmp_path / checkpoint.FILE_NAME, "")[1].step == 10
    torch.testing.assert_close(trained(dataset, tmp_path).state_dict(), trained(dataset).state_dict(), rtol=0, atol=0)


def test_training_works_and_its_statistics_are_nearly_as_good_as_recalibrated_ones(dataset: Dataset) -> None:
    net = trained(dataset).cpu().eval()
    with pytest.raises(UncalibratedError):
        top1(net, dataset.validation)
    uncalibrated = uncalibrated_top1(net, dataset.validation)
    calibrated = top1(recalibrate(net, dataset.train.images[:CALIBRATION_IMAGES]), dataset.validation)
    assert calibrated > 0.8
    assert abs(uncalibrated - calibrated) < 0.1


def test_networks_outside_the_space_are_trained_and_scored(dataset: Dataset) -> None:
    net = fresh_subnet(mobilenet_v3_small(10, 16, width=0.3, stride=8), CONFIG, 0)
    train_network(net, dataset.train, CONFIG, steps=30, seed=0, progress=quiet)
    assert top1(recalibrate(net, dataset.train.images[:CALIBRATION_IMAGES]), dataset.validation) > 0.3


def test_seconds_are_those_of_steps_over_all_interruptions(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"checkpoint_seconds": 0.0})
    now = iter(range(10_000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(now)))
    net = fresh()
    # The clock is read before and after each step, so a step takes one tick.
    assert train_network(net, dataset.train, config, steps=10, seed=3, progress=quiet, folder=tmp_path) == 10
    assert train_network(fresh(), dataset.train, config, steps=15, seed=3, progress=quiet, folder=tmp_path) == 15


def test_timing_steps_does_not_change_the_network(dataset: Dataset) -> None:
    net = fresh()
    before = copy.deepcopy(net.state_dict())
    assert 0 < step_seconds([net], dataset.train, CONFIG, 0)[0] < 60
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)


def test_networks_are_timed_in_turn(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the machine becomes three times slower during timing, the ratio of the networks stays."""
    clock, timed = [0.0], []

    def step(net: Subnet, *arguments: object) -> None:
        name = next(name for name, cost in costs.items() if cost[1] == len(net.specs))
        timed.append(name)
        clock[0] += costs[name][0] * (1.0 if len(timed) < 45 else 3.0)

    nets = [fresh(), fresh_subnet(SMALL.with_classes(10).unroll(SMALL.largest), CONFIG, 1)]
    costs = {"small": (1.0, len(nets[0].specs)), "large": (2.0, len(nets[1].specs))}
    assert costs["small"][1] != costs["large"][1]
    monkeypatch.setattr(standalone, "_step", step)
    monkeypatch.setattr(standalone.time, "perf_counter", lambda: clock[0])
    small, large = step_seconds(nets, dataset.train, CONFIG, 0)
    assert large == pytest.approx(2 * small)
    assert timed.count("small") == timed.count("large") == 2 + 10 * 4


def test_timing_no_network_gives_no_seconds(dataset: Dataset) -> None:
    assert step_seconds([], dataset.train, CONFIG, 0) == []


def test_wide_depthwise_convolutions_use_the_quick_gradient_and_are_plain_ones_afterwards(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = fresh_subnet(mobilenet_v3_small(10, 24, width=0.25), CONFIG, 0)
    wide = sum(isinstance(m, torch.nn.Conv2d) and m.groups > 1 and m.kernel_size[1] > 3 for m in net.modules())
    calls: list[int] = []
    gradient = depthwise.weight_gradient

    def counted(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return gradient(*arguments)

    monkeypatch.setattr(depthwise, "weight_gradient", counted)
    train_network(net, dataset.train, CONFIG, steps=1, seed=3, progress=quiet)
    assert len(calls) == wide > 3
    assert {type(module) for module in net.modules() if isinstance(module, torch.nn.Conv2d)} == {torch.nn.Conv2d}


def test_steps_are_whole_batches_of_every_epoch() -> None:
    assert steps_of(CONFIG, 640, 3) == 30
    assert steps_of(CONFIG, 640, 0.01) == 1
    assert steps_of(CONFIG, 20, 2) == 2
