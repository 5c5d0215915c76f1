"""Fine-tuning of one subnet, from the weights it inherited or from random ones, also for other classes."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

from torch import Tensor

from edgenas.config.train_config import TrainConfig
from edgenas.errors import DataError
from edgenas.progress import StepProgress
from edgenas.space.blocks.head import HeadSpec
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.split import Split
from edgenas.training.early_stopping import EarlyStopping
from edgenas.training.materialise import recalibrate
from edgenas.training.setup import compute_device
from edgenas.training.standalone import fresh_subnet, from_scratch, steps_of, train_network


def with_classes(subnet: Subnet, num_classes: int) -> Subnet:
    """Return a copy for other classes, with a random classifier and all other weights kept."""
    *body, head = subnet.specs
    assert isinstance(head, HeadSpec)
    twin = Subnet([*body, dataclasses.replace(head, out_channels=num_classes)], subnet.arch, subnet.pixels)
    weights = {name: tensor for name, tensor in subnet.state_dict().items() if ".classifier." not in name}
    twin.load_state_dict(twin.state_dict() | weights)
    twin.calibration_images = subnet.calibration_images
    return twin.train(subnet.training)


def finetune(
    subnet: Subnet,
    train: Split,
    config: TrainConfig,
    *,
    epochs: float,
    learning_rate_share: float,
    calibration: Tensor,
    seed: int,
    progress: StepProgress,
    teacher: Subnet | None = None,
    fresh: bool = False,
    average: float | None = None,
    folder: Path | None = None,
    stopping: EarlyStopping | None = None,
) -> tuple[Subnet, float]:
    """Fine-tune a subnet; return a calibrated subnet of the same architecture on the CPU, and the seconds of all steps.

    Inherited weights are better at first; a long training does better with random ones (warm starts generalise worse:
    arXiv 1910.08475).

    Args:
        subnet: a calibrated subnet; it is not changed.
        train: training images with their labels.
        config: settings of the supernet's training; its batch, optimiser, augmentation, smoothing and device apply.
        epochs: passes over the images.
        learning_rate_share: peak learning rate, as a fraction of the supernet's.
        calibration: training images that recalibrate batch norm at the end, uint8 (n, 1 or 3, h, w).
        seed: seed of the order of images and of their augmentation.
        progress: called with the steps done and all steps.
        teacher: a calibrated network for the same classes, distilled into the subnet beside the labels.
        fresh: whether to begin with random weights, as DARTS and others train the networks they find (arXiv 1806.09055,
            section 3.1.2).
        average: decay of a moving average of the weights, which the subnet gets in the end; None for none.
        folder: folder of the checkpoint to write and to resume from, see `train_network`; None for none.
        stopping: ends the training early, see `train_network`; None to train for all epochs.

    Raises:
        UncalibratedError: the subnet or its teacher did not come from `materialise`.
        DataError: a batch is larger than the split, or the teacher has other classes.
        RunFolderError: the checkpoint in `folder` is broken or of another network.
        EdgenasError: the loss is not finite; the message names the step.
    """
    subnet.require_calibrated("fine-tuning")
    if teacher is not None:
        teacher.require_calibrated("training")
        if teacher.specs[-1].out_channels != subnet.specs[-1].out_channels:
            raise DataError("fine-tuning for other classes works without a teacher only: the teacher lacks them")
        teacher = copy.deepcopy(teacher).to(compute_device(config.device)).eval()
    student = copy.deepcopy(subnet)
    if fresh:
        config = from_scratch(config)
        student = fresh_subnet(subnet.specs, config, seed, arch=subnet.arch, pixels=subnet.pixels)
    seconds = train_network(
        student,
        train,
        config,
        steps=steps_of(config, len(train), epochs),
        seed=seed,
        progress=progress,
        learning_rate_share=learning_rate_share,
        teacher=teacher,
        average=average,
        folder=folder,
        stopping=stopping,
    )
    return recalibrate(student.cpu(), calibration), seconds
