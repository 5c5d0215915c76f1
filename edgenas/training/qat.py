"""Quantisation-aware fine-tuning: a subnet trained to lose little where its int8 file rounds.

The subnet is trained through a copy that rounds as the file does (see `fake_quantised`), batch norm folded and its
statistics frozen (arXiv 1806.08342), towards the labels and the subnet's own fp32 outputs. Ranges of activations
follow a moving average (Jacob et al., arXiv 1712.05877, section 3.1) and are not learned (as in LSQ+, arXiv
2004.09576): the quantiser finds the file's ranges anew, on the trained weights, so learned ones would be lost.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from edgenas.config.sections import TrainConfig
from edgenas.errors import EdgenasError
from edgenas.supernet.subnet import Subnet, module_device
from edgenas.training.data.augment import augment
from edgenas.training.data.preprocess import Preprocess
from edgenas.training.data.split import Split
from edgenas.training.fake_quantised import fake_quantised, fold_norms
from edgenas.training.losses import distillation_loss, hard_loss
from edgenas.training.materialise import preprocess_for
from edgenas.training.schedule import batch_indices, learning_rate
from edgenas.training.setup import compute_device

STEPS = 600
RATE_SHARE = 0.1
"""Of the supernet's learning rate, at the peak; then a cosine to zero."""
WARM_UP = 0.05
"""Share of all steps."""
Progress = Callable[[int, int], None]


def fine_tune(
    subnet: Subnet,
    train: Split,
    config: TrainConfig,
    *,
    calibration: Tensor,
    seed: int,
    progress: Progress,
    weight_bits: int = 8,
    steps: int = STEPS,
) -> Subnet:
    """A calibrated subnet of the same arch, on the CPU, that loses less when it is quantised.

    On a CPU, equal arguments give equal bits, given the same versions and threads.

    Args:
        subnet: calibrated; left as it was.
        train: training images with their labels.
        config: of the supernet's training; its batch size, augmentation, label smoothing and device hold here, too.
        calibration: training images, uint8 (n, 1 or 3, h, w), that settle the first ranges of activations.
        seed: of the order of images and their augmentation.
        progress: called with steps done and in all.
        weight_bits: 8, or 7 as `QuantiserRecipe.seven_bit_weights` says.
        steps: of the optimiser.

    Raises:
        UncalibratedError: the subnet did not come from `materialise`.
        EdgenasError: the loss is not finite; the step is named.
    """
    subnet.require_calibrated("fine-tuning")
    assert subnet.arch is not None
    device, preprocess = compute_device(config.device), preprocess_for(subnet.arch, subnet.pixels)
    teacher = copy.deepcopy(subnet).to(device).eval().requires_grad_(False)
    student = fold_norms(subnet).to(device).requires_grad_(True)
    network = fake_quantised(student, weight_bits).to(device=device).train()
    _settle_ranges(network, calibration, preprocess, config.batch_size)
    # Weights are what the subnet learned already: no decay.
    peak = RATE_SHARE * config.learning_rate
    optimizer = torch.optim.Adam(network.parameters(), lr=peak)
    size = min(config.batch_size, len(train))
    indices = (batch_indices(len(train), size, seed, step) for step in range(steps))
    for step, batch in enumerate(train.stream(indices)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, peak, WARM_UP)
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        inputs = preprocess(augment(batch.tensor().to(device), config.augment, generator))
        _step(network, teacher, optimizer, inputs, batch.labels.to(device), config.label_smoothing, step)
        progress(step + 1, steps)
    return student.cpu().eval()


@torch.no_grad()
def _settle_ranges(network: nn.Module, images: Tensor, preprocess: Preprocess, batch_size: int) -> None:
    for batch in torch.split(images, batch_size):
        network(preprocess(batch.to(module_device(network))))


def _step(
    network: nn.Module,
    teacher: Subnet,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    labels: Tensor,
    label_smoothing: float,
    step: int,
) -> None:
    with torch.no_grad():
        wanted = teacher(inputs)
    logits = network(inputs)
    loss = hard_loss(logits, labels, label_smoothing) + distillation_loss(logits, wanted)
    if not torch.isfinite(loss):
        raise EdgenasError(
            f"the loss of fine-tuning for int8 is {loss.item()} at step {step}: "
            "set export.quantisation_aware to never, which exports without it"
        )
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
