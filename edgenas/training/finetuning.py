"""Fine-tuning a subnet on its own, from the weights it inherited; or onto other classes."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

from torch import Tensor

from edgenas.config.sections import TrainConfig
from edgenas.errors import DataError
from edgenas.space.blocks import HeadSpec
from edgenas.supernet.subnet import Subnet
from edgenas.training.data.split import Split
from edgenas.training.materialise import recalibrate
from edgenas.training.setup import compute_device
from edgenas.training.standalone import Progress, fresh_subnet, steps_of, train_network


def with_classes(subnet: Subnet, num_classes: int) -> Subnet:
    """A copy for other classes: all weights but the classifier's, which are fresh."""
    *body, head = subnet.specs
    assert isinstance(head, HeadSpec)
    twin = Subnet([*body, dataclasses.replace(head, out_channels=num_classes)], subnet.arch, subnet.pixels)
    kept = {name: tensor for name, tensor in subnet.state_dict().items() if ".classifier." not in name}
    twin.load_state_dict(twin.state_dict() | kept)
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
    progress: Progress,
    teacher: Subnet | None = None,
    fresh: bool = False,
    folder: Path | None = None,
) -> tuple[Subnet, float]:
    """A calibrated subnet of the same arch that was trained from scratch, on the CPU; and the seconds spent in steps.

    Weights that are inherited are ahead at first; a long training does better without them (warm starts generalise
    worse: arXiv 1910.08475).

    Args:
        subnet: calibrated; left as it was.
        train: training images with their labels.
        config: of the supernet's training: its batch, optimiser, augmentation, smoothing and device hold here, too.
        epochs: passes over the images.
        learning_rate_share: of the supernet's learning rate, at the peak.
        calibration: training images that recalibrate batch norm at the end, uint8 (n, 1 or 3, h, w).
        seed: of the order of images and their augmentation.
        progress: called with steps done and in all.
        teacher: calibrated, of the same classes; its outputs are learned beside the labels.
        fresh: whether it begins with weights of its own, drawn as a supernet's are, as networks that are searched for
            are trained in the end by DARTS and others (arXiv 1806.09055, section 3.1.2).
        folder: of checkpoints, and of the one that is resumed from, see `train_network`; None: there are none.

    Raises:
        UncalibratedError: the subnet or its teacher did not come from `materialise`.
        DataError: a batch is larger than the split, or the teacher is of other classes.
        RunFolderError: the checkpoint in `folder` is broken or of another network.
        EdgenasError: the loss is no finite number; the step is named.
    """
    subnet.require_calibrated("fine-tuning")
    if teacher is not None:
        teacher.require_calibrated("training")
        if teacher.specs[-1].out_channels != subnet.specs[-1].out_channels:
            raise DataError("fine-tuning onto other classes goes without a teacher, which does not know them")
        teacher = copy.deepcopy(teacher).to(compute_device(config.device)).eval()
    student = copy.deepcopy(subnet)
    if fresh:
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
        average=config.average if fresh else None,
        folder=folder,
    )
    return recalibrate(student.cpu(), calibration), seconds
