"""A small network trained on digits, a twin of it with a large accuracy drop in int8, and their int8 files."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from spaces import SMALL
from torch import Tensor

from edgenas.config.sections import DataConfig
from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.supernet.blocks.inverted_residual import InvertedResidual
from edgenas.supernet.subnet import Subnet
from edgenas.supernet.supernet import SuperNet
from edgenas.training.data.dataset import Dataset, load_dataset
from edgenas.training.fake_quantised import fold_norms
from edgenas.training.materialise import preprocess_for
from edgenas.training.schedule import batch_indices

ARCH = SMALL.smallest
PREPROCESS = preprocess_for(ARCH)
CONFIG = TrainConfig(epochs=1, batch_size=64, learning_rate=1e-2, augment=AugmentConfig(shift=0.05), device="cpu")
CALIBRATION_IMAGES = 128


def digits() -> Dataset:
    return load_dataset(DataConfig(name="digits", validation=0.25), 0)


def trained(dataset: Dataset, steps: int = 100) -> Subnet:
    """Return the smallest subnet, trained from scratch."""
    torch.manual_seed(0)
    subnet = SuperNet(SMALL.with_classes(dataset.num_classes)).extract(ARCH).train()
    optimizer = torch.optim.Adam(subnet.parameters(), lr=5e-3)
    for batch in dataset.train.stream(batch_indices(len(dataset.train), 64, 0, range(steps))):
        optimizer.zero_grad()
        F.cross_entropy(subnet(PREPROCESS(batch.tensor())), batch.labels).backward()
        optimizer.step()
    subnet.calibration_images = CALIBRATION_IMAGES
    return subnet.eval()


def spoiled(subnet: Subnet, octaves: float) -> Subnet:
    """Return a subnet of the same function whose channels in one range differ by up to `octaves` powers of two.

    Where a ReLU lies between a depthwise convolution and the next one, the first is scaled up by channel and the second
    is scaled down (the reverse of arXiv 1906.04721, section 4.1).
    """
    twin, generator = fold_norms(subnet), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in twin.blocks.values():
            if not isinstance(block, InvertedResidual) or block.se is not None:
                continue
            first, second = block.depthwise, block.project
            if isinstance(first.activation, torch.nn.ReLU):
                scale = 2 ** (octaves * (torch.rand(len(first.norm.bias), generator=generator) - 0.5))
                first.conv.weight *= scale.view(-1, 1, 1, 1)
                first.norm.bias *= scale
                second.conv.weight /= scale.view(1, -1, 1, 1)
    return twin


def int8_file(subnet: Subnet, calibration: Tensor, folder: Path, *, seven_bit_weights: bool = False) -> Path:
    """Write the int8 file with both ends in fp32 and min-max ranges; return its path."""
    recipe = QuantiserRecipe("minmax", "ends", seven_bit_weights)
    model = export_onnx(subnet, folder / "fp32.onnx")
    inputs = PREPROCESS(calibration).numpy()
    return quantise(model, folder / f"{recipe}.onnx", inputs, recipe, images=len(calibration))
