"""A little network that has learned the digits, a twin of it that int8 ruins, and their int8 files."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from spaces import SMALL
from torch import Tensor

from edgenas.config.sections import AugmentConfig, DataConfig, TrainConfig
from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.deploy.int8.quantize import quantise
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.supernet.subnet import InvertedResidual, Subnet
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
    """The smallest subnet, by itself."""
    torch.manual_seed(0)
    subnet = SuperNet(SMALL, dataset.num_classes).extract(ARCH).train()
    optimizer = torch.optim.Adam(subnet.parameters(), lr=5e-3)
    for step in range(steps):
        batch = dataset.train.take(batch_indices(len(dataset.train), 64, 0, step))
        optimizer.zero_grad()
        F.cross_entropy(subnet(PREPROCESS(batch.tensor())), batch.labels).backward()
        optimizer.step()
    subnet.calibration_images = CALIBRATION_IMAGES
    return subnet.eval()


def spoiled(subnet: Subnet, octaves: float) -> Subnet:
    """The same function, but channels that one range must hold differ by up to `octaves` powers of two.

    Where ReLU stands between a depthwise convolution and the one behind it, what scales a channel of the first up
    scales it down in the second (arXiv 1906.04721, section 4.1, done the other way round).
    """
    twin, generator = fold_norms(subnet), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for block in twin.blocks.values():
            if isinstance(block, InvertedResidual) and isinstance(block.activation, torch.nn.ReLU) and block.se is None:
                first, second = block.depthwise, block.project
                scale = 2 ** (octaves * (torch.rand(len(first.norm.bias), generator=generator) - 0.5))
                first.conv.weight *= scale.view(-1, 1, 1, 1)
                first.norm.bias *= scale
                second.conv.weight /= scale.view(1, -1, 1, 1)
    return twin


def int8_file(subnet: Subnet, calibration: Tensor, folder: Path, *, seven_bit_weights: bool = False) -> Path:
    """Both ends in fp32, ranges from the smallest to the greatest value."""
    recipe = QuantiserRecipe("minmax", "ends", seven_bit_weights)
    model = export_onnx(subnet, folder / "fp32.onnx")
    inputs = PREPROCESS(calibration).numpy()
    return quantise(model, folder / f"{recipe}.onnx", inputs, recipe, images=len(calibration))
