"""Preprocessing inside the file: normalisation and layout become its first nodes, and its input is uint8 pixels.

Resizing and cropping stay outside: they depend on the image's size, and image libraries do them faster.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from torch import Tensor, uint8

from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.errors import UserError
from edgenas.files import write_bytes
from edgenas.training.data.preprocess import Preprocess

IMAGE, PIXELS, PLACE = "image", "pixels", "preprocessing"
"""Names of the new input, of the network's input behind it, and the prefix of the nodes between."""
INCLUDED = "preprocessing_included"
"""Key of the file's metadata."""


def embed_preprocessing(model: Path, out: Path, preprocess: Preprocess) -> Path:
    """Write an exported file, fp32 or int8, with normalisation and layout change inside.

    Input `image`: RGB pixels, uint8 (1, size, size, 3), resized and cropped; the output does not change. An open
    batch stays open.

    Args:
        model: a file from `export_onnx` or `quantise`.
        out: path of the new file; an old file is replaced.
        preprocess: how images become inputs of `model`.

    Raises:
        UserError: the file is another exporter's, or contains preprocessing already.
    """
    metadata = model_metadata(model)
    if "exporter_version" not in metadata or INCLUDED in metadata:
        raise UserError(f"{model}: expected a file of edgenas' exporter without preprocessing: export it again")
    proto = onnx.load(model)
    source = proto.graph.input[0]
    assert source.name == PIXELS
    batch, _, height, width = (size.dim_param or size.dim_value for size in source.type.tensor_type.shape.dim)
    source.CopyFrom(onnx.helper.make_tensor_value_info(IMAGE, onnx.TensorProto.UINT8, (batch, height, width, 3)))
    nodes = [*_nodes(), *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    proto.graph.initializer.extend(_constants(preprocess))
    onnx.helper.set_model_props(proto, {f"edgenas.{key}": v for key, v in {**metadata, INCLUDED: "true"}.items()})
    onnx.checker.check_model(proto, full_check=True)
    write_bytes(out, proto.SerializeToString(deterministic=True))
    return out


def _nodes() -> list[onnx.NodeProto]:
    # Transposed as bytes: floats would be four times the memory traffic.
    steps: list[tuple[str, list[str], dict[str, Any]]] = [
        ("Transpose", [], {"perm": (0, 3, 1, 2)}),
        ("Cast", [], {"to": onnx.TensorProto.FLOAT}),
        ("Mul", [f"{PLACE}/scale"], {}),
        ("Add", [f"{PLACE}/offset"], {}),
    ]
    names = [IMAGE, *(f"{PLACE}/{operator}_{n}/output_0" for n, (operator, _, _) in enumerate(steps[:-1])), PIXELS]
    return [
        onnx.helper.make_node(operator, [names[n], *constants], [names[n + 1]], f"{PLACE}/{operator}_{n}", **attributes)
        for n, (operator, constants, attributes) in enumerate(steps)
    ]


def _constants(preprocess: Preprocess) -> list[onnx.TensorProto]:
    """Return (pixel / 255 - mean) / std as the constants of pixel · scale + offset."""
    mean, std = (np.array(values, np.float64).reshape(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    constants = {"scale": 1 / (255 * std), "offset": -mean / std}
    return [onnx.numpy_helper.from_array(v.astype(np.float32), f"{PLACE}/{name}") for name, v in constants.items()]


def device_inputs(images: Tensor, preprocess: Preprocess, *, embedded: bool) -> npt.NDArray[Any]:
    """Return the inputs of a file for images.

    Args:
        images: uint8 (n, 1 or 3, h, w).
        preprocess: how images become inputs.
        embedded: whether the file contains the normalisation.

    Returns:
        uint8 (n, size, size, 3) if `embedded`, else float32 (n, 3, size, size).

    Raises:
        DataError: images of another type or shape.
    """
    if not embedded:
        return preprocess(images).contiguous().numpy()
    scaled = dataclasses.replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))(images)
    return (scaled * 255).round().to(uint8).permute(0, 2, 3, 1).contiguous().numpy()
