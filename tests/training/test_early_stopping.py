"""Early stopping of a standalone training."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from halves import Killed
from little_subnet import CALIBRATION_IMAGES, CONFIG, digits
from spaces import SMALL
from torch import Tensor

from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint
from edgenas.training.data.dataset import Dataset
from edgenas.training.early_stopping import EarlyStopping, validation_score
from edgenas.training.materialise import recalibrate, top1
from edgenas.training.standalone import fresh_subnet, train_network

STEPS = 40
EVERY_STEP = CONFIG.model_copy(update={"checkpoint_seconds": 0.0})


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return digits()


def stopping(scores: Iterator[float], folder: Path, patience: int = 2) -> EarlyStopping:
    return EarlyStopping(lambda net: next(scores), patience, 8, folder)


def trained(
    dataset: Dataset, stop: EarlyStopping | None, folder: Path, killed_at: int = 0, average: float | None = None
) -> dict[str, Tensor]:
    def progress(done: int, total: int) -> None:
        if done == killed_at:
            raise Killed

    net = fresh_subnet(SMALL.with_classes(10).unroll(SMALL.smallest), CONFIG, 1, arch=SMALL.smallest)
    train_network(
        net,
        dataset.train,
        EVERY_STEP,
        steps=STEPS,
        seed=3,
        progress=progress,
        average=average,
        folder=folder,
        stopping=stop,
    )
    return net.state_dict()


def weights_after(dataset: Dataset, folder: Path, steps: int) -> dict[str, Tensor]:
    """Return the weights after so many steps of the same training."""
    with pytest.raises(Killed):
        trained(dataset, None, folder, killed_at=steps)
    tensors = checkpoint.read(folder / checkpoint.FILE_NAME, "", "net.")[0]
    return {name.removeprefix("net."): tensor for name, tensor in tensors.items()}


def test_it_stops_after_so_many_validations_without_a_better_one_with_the_best_weights(
    dataset: Dataset, tmp_path: Path
) -> None:
    stop = stopping(iter([0.2, 0.5, 0.4, 0.5, 0.9]), tmp_path / "stopped")
    result = trained(dataset, stop, tmp_path / "stopped")
    # Eight validations in 40 steps: the second one, at step 10, was the best; two more came after it.
    assert (stop.steps_taken, stop.scores) == (20, [0.2, 0.5, 0.4, 0.5])
    torch.testing.assert_close(result, weights_after(dataset, tmp_path / "other", 10), rtol=0, atol=0)


def test_without_a_reason_to_stop_it_ends_with_the_last_weights(dataset: Dataset, tmp_path: Path) -> None:
    stop = stopping(itertools.count(), tmp_path / "stopped")
    result = trained(dataset, stop, tmp_path / "stopped")
    assert (stop.steps_taken, len(stop.scores)) == (STEPS, 8)
    torch.testing.assert_close(result, trained(dataset, None, tmp_path / "other"), rtol=0, atol=0)


@pytest.mark.parametrize("killed_at", [7, 12, 19])
@pytest.mark.parametrize("average", [None, 0.9])
def test_killed_at_any_step_it_stops_where_an_undisturbed_one_does(
    dataset: Dataset, tmp_path: Path, killed_at: int, average: float | None
) -> None:
    scores = [0.2, 0.5, 0.4, 0.5, 0.9]
    expected = trained(dataset, stopping(iter(scores), tmp_path / "a"), tmp_path / "a", average=average)
    left = iter(scores)
    with pytest.raises(Killed):
        trained(dataset, stopping(left, tmp_path / "b"), tmp_path / "b", killed_at, average)
    again = stopping(left, tmp_path / "b")
    torch.testing.assert_close(trained(dataset, again, tmp_path / "b", 0, average), expected, rtol=0, atol=0)
    assert again.steps_taken == 20
    # Killed before the result is written, it does not train again.
    last = stopping(iter([]), tmp_path / "b")
    torch.testing.assert_close(trained(dataset, last, tmp_path / "b", 0, average), expected, rtol=0, atol=0)
    assert last.steps_taken == 20


@pytest.mark.parametrize(("steps", "validations"), [(40, 8), (7, 10), (1, 3), (93, 10)])
def test_validations_are_spread_evenly_and_the_last_step_has_one(tmp_path: Path, steps: int, validations: int) -> None:
    stop = EarlyStopping(lambda net: 0.0, 1, validations, tmp_path)
    due = [done for done in range(1, steps + 1) if stop.due(done, steps)]
    assert len(due) == min(steps, validations)
    assert due[-1] == steps
    gaps = {later - earlier for earlier, later in itertools.pairwise([0, *due])}
    assert max(gaps) - min(gaps) <= 1


def test_the_score_is_that_of_a_recalibrated_copy(dataset: Dataset) -> None:
    net = Subnet(SMALL.with_classes(10).unroll(SMALL.smallest), SMALL.smallest).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    calibration = dataset.train.images[:CALIBRATION_IMAGES]
    assert isinstance(calibration, Tensor)
    score = validation_score(calibration, dataset.validation, mirrored=False)(net)
    assert net.training
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)
    assert score == top1(recalibrate(net, calibration), dataset.validation)
