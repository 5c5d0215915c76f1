"""Proof that the exported file computes what the scored network computes."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from edgenas.errors import DataError, ParityError
from edgenas.supernet.subnet import Subnet
from edgenas.training.preprocess import Preprocess

MIN_TOP1_AGREEMENT = 0.995
BATCH_SIZE = 64


@dataclass(frozen=True)
class Parity:
    """How far ONNX Runtime's logits are from torch's, both fp32 on the CPU.

    Attributes:
        images: number of pictures compared.
        max_abs_difference: greatest |Δlogit| over all pictures and classes.
        mean_abs_difference: mean |Δlogit|.
        top1_agreement: share of pictures given the same class.
    """

    images: int
    max_abs_difference: float
    mean_abs_difference: float
    top1_agreement: float

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return dataclasses.asdict(self)


def check_parity(
    subnet: Subnet, onnx_path: Path, pictures: Tensor, preprocess: Preprocess, *, tolerance: float = 1e-3
) -> Parity:
    """Compare the exported file with the subnet it was made of.

    Args:
        subnet: calibrated; left as it was. It is run in fp32 on the CPU, whatever it was trained on.
        onnx_path: its exported file.
        pictures: real ones, uint8 (n, 1 or 3, h, w), n at least 1.
        preprocess: how they become inputs.
        tolerance: greatest |Δlogit| allowed. Absolute: fp32 logits of trained networks are of order 1 to 10.

    Raises:
        ParityError: a logit differs by more than `tolerance` (or is not a number), or less than 99.5 % of the
            pictures get the same class.
        UncalibratedError: the subnet was not calibrated.
        DataError: no pictures, or of another type or shape.
    """
    subnet.require_calibrated("the parity check")
    expected = _torch_logits(subnet, pictures, preprocess)
    got = onnx_logits(onnx_path, pictures, preprocess)
    if got.shape != expected.shape:
        raise ParityError(f"{onnx_path} gives logits {tuple(got.shape)}, torch {tuple(expected.shape)}: export again")
    difference = (got - expected).abs()
    parity = Parity(
        images=len(pictures),
        max_abs_difference=float(difference.max()),
        mean_abs_difference=float(difference.mean()),
        top1_agreement=float((got.argmax(1) == expected.argmax(1)).float().mean()),
    )
    # Written so that a difference which is not a number fails.
    if not (parity.max_abs_difference <= tolerance and parity.top1_agreement >= MIN_TOP1_AGREEMENT):
        raise ParityError(
            f"{onnx_path} is not the network that was scored: over {parity.images} pictures the greatest "
            f"|Δlogit| is {parity.max_abs_difference:.3g} (wanted at most {tolerance:g}), top-1 agreement "
            f"{parity.top1_agreement:.2%} (wanted at least {MIN_TOP1_AGREEMENT:.1%}): export again"
        )
    return parity


def onnx_top1(onnx_path: Path, pictures: Tensor, labels: Tensor, preprocess: Preprocess) -> float:
    """Share of pictures that the exported file, run by ONNX Runtime, gives their label.

    Args:
        onnx_path: an exported file.
        pictures: uint8 (n, 1 or 3, h, w), n at least 1.
        labels: whole numbers (n,).
        preprocess: how pictures become inputs.

    Raises:
        DataError: no pictures, or of another type or shape.
    """
    classes = onnx_logits(onnx_path, pictures, preprocess).argmax(1)
    return int((classes == labels.cpu()).sum()) / len(pictures)


def onnx_logits(onnx_path: Path, pictures: Tensor, preprocess: Preprocess) -> Tensor:
    """Logits (n, classes) that ONNX Runtime computes on the CPU, picture by picture, as a device would.

    Raises:
        DataError: no pictures, or of another type or shape.
    """
    if len(pictures) == 0:
        raise DataError("wanted at least one picture to run the exported file on, got none")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(onnx_path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    logits = []
    for batch in torch.split(pictures.cpu(), BATCH_SIZE):
        inputs = preprocess(batch).contiguous().numpy()
        logits += [session.run(None, {name: inputs[i : i + 1]})[0] for i in range(len(inputs))]
    return torch.from_numpy(np.concatenate(logits))


@torch.no_grad()
def _torch_logits(subnet: Subnet, pictures: Tensor, preprocess: Preprocess) -> Tensor:
    network = copy.deepcopy(subnet).cpu().float().eval()
    return torch.cat([network(preprocess(batch)) for batch in torch.split(pictures.cpu(), BATCH_SIZE)])
