"""Accuracy and logits of exported files, computed by ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor

from edgenas.deploy.onnx.embedded_preprocessing import device_inputs
from edgenas.deploy.onnx.runtime import create_session, runtime_message
from edgenas.errors import DataError, UserError
from edgenas.training.data.preprocess import Preprocess

BATCH_SIZE = 256
"""Images that are preprocessed together; the runtime gets them one by one."""


def onnx_top1(onnx_path: Path, images: Tensor, labels: Tensor, preprocess: Preprocess) -> float:
    """Return the share of images that ONNX Runtime classifies correctly with an exported file.

    Args:
        onnx_path: an exported file, fp32 or int8.
        images: uint8 (n, 1 or 3, h, w), n at least 1.
        labels: integers, shape (n,).
        preprocess: how images become inputs.

    Raises:
        UserError: no file, or the runtime lacks an operator or opset of it.
        DataError: no images, or of another type or shape.
    """
    return int((onnx_classes(onnx_path, images, preprocess) == labels.cpu()).sum()) / len(images)


def onnx_classes(onnx_path: Path, images: Tensor, preprocess: Preprocess) -> Tensor:
    """Return the class of each image, shape (n,), by ONNX Runtime; see `onnx_top1`."""
    return onnx_logits(onnx_path, images, preprocess).argmax(1)


def onnx_logits(
    onnx_path: Path, images: Tensor, preprocess: Preprocess, *, optimised: bool = True, batch: int = 1
) -> Tensor:
    """Return the logits, shape (n, classes), that ONNX Runtime computes on the CPU, image by image as a device would.

    int8 sums are exact on every CPU: devices whose kernels saturate get 7-bit weights, whose sums stay below the limit.
    Images are distributed over as many threads as torch uses; operators of small networks gain nothing from threads.

    Args:
        onnx_path: an exported file, fp32 or int8.
        images: uint8 (n, 1 or 3, h, w), n at least 1.
        preprocess: how they become inputs.
        optimised: whether the runtime's graph optimisations are on.
        batch: number of images at a time, if the file's batch is open.

    Raises:
        UserError: no file, or the runtime lacks an operator or opset of it.
        DataError: no images, or of another type or shape.
    """
    if len(images) == 0:
        raise DataError("expected at least one image to run the exported file on, got none")
    session = scoring_session(onnx_path, optimised=optimised)
    run, threads = _runner(session, batch), torch.get_num_threads()
    embedded = session.get_inputs()[0].type == "tensor(uint8)"
    logits: list[npt.NDArray[np.float32]] = []
    with ThreadPoolExecutor(threads) as pool:
        for part in torch.split(images.cpu(), BATCH_SIZE):
            inputs = device_inputs(part, preprocess, embedded=embedded)
            logits += pool.map(run, np.array_split(inputs, min(threads, len(inputs))))
    return torch.from_numpy(np.concatenate(logits))


def _runner(session: onnxruntime.InferenceSession, batch: int) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float32]]:
    """Return a function from inputs of n images to logits (n, classes); several threads may call it."""
    name = session.get_inputs()[0].name

    def run(inputs: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        parts = np.split(inputs, range(batch, len(inputs), batch))
        return np.concatenate([session.run(None, {name: part})[0] for part in parts])

    return run


def scoring_session(onnx_path: Path, *, optimised: bool = True) -> onnxruntime.InferenceSession:
    """Return a session whose int8 sums are exact on every CPU.

    Raises:
        UserError: no file, or the runtime lacks an operator or opset of it.
    """
    try:
        return create_session(onnx_path, optimised=optimised, exact_int8=True)
    # The runtime's own exceptions share no base but Exception.
    except Exception as error:
        raise UserError(
            f"{onnx_path}: ONNX Runtime {onnxruntime.__version__} cannot run it (it needs {_opsets(onnx_path)}): "
            f"{runtime_message(error)}: install a newer runtime, or export with operators and an opset it supports"
        ) from None


def _opsets(onnx_path: Path) -> str:
    model = onnx.load(onnx_path, load_external_data=False)
    return ", ".join(f"{entry.domain or 'ai.onnx'} opset {entry.version}" for entry in model.opset_import)
