"""Quantisation of exported files to int8 with ONNX Runtime's quantiser.

Quantisation is static, with pairs of QuantizeLinear and DequantizeLinear (QDQ) that the runtime fuses into int8
kernels. Weights are int8 by output channel and activations are uint8, as the runtime's documentation recommends for
x86, where only uint8 activations have fused kernels. Before quantisation, operators without int8 kernels are replaced
by operators that have them (see `to_integer_graph`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorData,
    TensorsData,
    create_calibrator,
)

from edgenas.deploy.int8.integer_graph import (
    Range,
    block_of,
    drop_gates,
    make_ports_uint8,
    name_by_block,
    narrow_ranges,
    sort_by_execution,
    to_integer_graph,
)
from edgenas.deploy.int8.quantiser_recipe import FloatLayers, Method, QuantiserRecipe
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.errors import DataError, UncalibratedError, UserError
from edgenas.files import write_bytes

Inputs = Iterable[npt.NDArray[np.float32]]
"""Preprocessed inputs of a network, each of shape (3, r, r); an array (n, 3, r, r) is one as well."""

CALIBRATION_IMAGES = 256
OPERATORS = (
    *("Conv", "Gemm", "MatMul", "Add", "Mul", "HardSigmoid", "Sigmoid", "Relu", "Clip"),
    *("GlobalAveragePool", "AveragePool", "MaxPool", "Concat", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
)
"""Operators that are quantised. The runtime's own list differs between its versions."""
IMAGES_AT_ONCE = 16
"""Number of images whose activations are in memory together while histograms are computed."""
METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    # By default the runtime merges 128 bins to 128 bins, which leaves a single threshold.
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 256, "num_quantized_bins": 128}),
    "percentile": (CalibrationMethod.Percentile, {"percentile": 99.99, "symmetric": False, "num_bins": 2048}),
}


def quantise(
    model: Path, out: Path, calibration: Inputs, recipe: QuantiserRecipe, *, images: int = CALIBRATION_IMAGES
) -> Path:
    """Write the int8 file of an exported file; see `quantise_each`."""
    return quantise_each(model, {recipe: out}, calibration, images=images)[recipe]


def quantise_each(
    model: Path,
    outs: Mapping[QuantiserRecipe, Path],
    calibration: Inputs,
    *,
    images: int = CALIBRATION_IMAGES,
) -> dict[QuantiserRecipe, Path]:
    """Write an int8 file of an exported file for each of several recipes.

    Input and output keep their name, shape and type (float32). Metadata is kept. The added entries are precision,
    quantiser_recipe, quantiser_images (number of calibration images), quantiser_images_sha256 (digest of the inputs)
    and source_sha256 (digest of `model`).

    Args:
        model: path of a file that `export_onnx` wrote for a calibrated subnet.
        outs: path of each recipe's int8 file; existing files are replaced.
        calibration: preprocessed training images.
        images: number of images to use, from the first.

    Raises:
        UncalibratedError: `model` was exported for timing or from an uncalibrated subnet.
        UserError: `model` is not an fp32 file of edgenas's exporter.
        DataError: there are fewer images than `images`, or inputs do not fit the model.
    """
    proto, metadata = _source(model)
    _refuse_undeployable(model, metadata)
    inputs = _inputs(proto, calibration, images)
    metadata |= {
        "quantiser_images": str(len(inputs)),
        "quantiser_images_sha256": hashlib.sha256(np.stack(inputs).tobytes()).hexdigest(),
    }
    integer_graph = to_integer_graph(proto)
    methods = dict.fromkeys(recipe.method for recipe in outs)
    ranges = {method: calibrate(integer_graph, inputs, method) for method in methods}
    for recipe, out in outs.items():
        _save(_quantised(proto, ranges[recipe.method], recipe), out, metadata, recipe)
    return dict(outs)


def quantise_for_timing(model: Path, out: Path, recipe: QuantiserRecipe) -> Path:
    """Write an int8 file of a network or a block for timing, calibrated on noise.

    In a network, blocks pass uint8 values in channels-last memory. So inputs and outputs other than `pixels` and
    `logits` become uint8 of shape (1, height, width, channels). This avoids quantisation and reordering that the
    network does not have.

    Args:
        model: path of a file of `export_for_timing`, or of any exported file.
        out: path of the int8 file, which may be `model`.
        recipe: quantiser recipe, whose method has no effect.
    """
    proto, metadata = _source(model)
    shape = _input_shape(proto)
    noise = np.random.default_rng(0).standard_normal((2, *shape[1:])).astype(np.float32)
    ranges = calibrate(to_integer_graph(proto), list(noise), "minmax")
    quantised = _quantised(proto, ranges, recipe)
    make_ports_uint8(quantised)
    return _save(quantised, out, {**metadata, "for_timing": "true"}, recipe)


@dataclass(frozen=True)
class RecipeChoice:
    """Recipe that was chosen among several.

    Attributes:
        recipe: the chosen recipe.
        path: int8 file of the chosen recipe.
        top1: share of validation images that are classified correctly, by recipe.
    """

    recipe: QuantiserRecipe
    path: Path
    top1: Mapping[QuantiserRecipe, float]

    @property
    def best_top1(self) -> float:
        """Return the top-1 accuracy of the chosen recipe."""
        return self.top1[self.recipe]


def choose_recipe(files: Mapping[QuantiserRecipe, Path], score: Callable[[Path], float]) -> RecipeChoice:
    """Return the recipe with the most accurate of several quantised files.

    Args:
        files: output of `quantise_each`, in order of latency. The first of equally accurate files is chosen.
        score: function from a file to its top-1 accuracy on validation images, computed by the runtime.
    """
    if not files:
        raise ValueError("expected at least one quantised file to choose from")
    top1 = {recipe: score(path) for recipe, path in files.items()}
    best = max(top1, key=lambda recipe: top1[recipe])
    return RecipeChoice(best, files[best], top1)


def calibrate(
    integer_graph: onnx.ModelProto, inputs: Sequence[npt.NDArray[np.float32]], method: Method
) -> dict[str, Range]:
    """Return the ranges of all activations that may be quantised, by tensor.

    Args:
        integer_graph: output of `to_integer_graph`.
        inputs: preprocessed images, each of shape (3, r, r).
        method: method that determines the ranges, see `QuantiserRecipe`.
    """
    kind, options = METHODS[method]
    name = integer_graph.graph.input[0].name
    # The runtime prints its progress to standard output, and divides by empty bins.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        path = Path(folder) / "integer.onnx"
        onnx.save(integer_graph, path)
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, OPERATORS, augmented, kind, extra_options=options)
        for start in range(0, len(inputs), IMAGES_AT_ONCE):
            calibrator.collect_data(_Reader(name, inputs[start : start + IMAGES_AT_ONCE]))
        ranges = calibrator.compute_data()
    return {name: (float(np.squeeze(data.lowest)), float(np.squeeze(data.highest))) for name, data in ranges.items()}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Reader that gives the runtime one input at a time."""

    def __init__(self, name: str, inputs: Sequence[npt.NDArray[np.float32]]):
        self._feeds: Iterator[dict[str, npt.NDArray[np.float32]]] = iter([{name: value[None]} for value in inputs])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._feeds, None)


def _quantised(proto: onnx.ModelProto, ranges: Mapping[str, Range], recipe: QuantiserRecipe) -> onnx.ModelProto:
    in_float = _in_float(proto, recipe.float_layers)
    integer_graph = to_integer_graph(proto, in_float)
    tensors = {
        tensor: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for tensor, (low, high) in narrow_ranges(ranges, integer_graph).items()
    }
    quantizer = QDQQuantizer(
        integer_graph,
        per_channel=True,
        reduce_range=recipe.seven_bit_weights,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, tensors),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(in_float),
        op_types_to_quantize=OPERATORS,
        extra_options={},
    )
    quantizer.quantize_model()
    quantised: onnx.ModelProto = quantizer.model.model
    # The quantiser appends its nodes at the end or sorts them breadth first.
    sort_by_execution(quantised.graph)
    drop_gates(quantised)
    del quantised.graph.value_info[:]
    quantised.producer_name, quantised.producer_version = proto.producer_name, proto.producer_version
    return quantised


def _in_float(proto: onnx.ModelProto, layers: FloatLayers) -> frozenset[str]:
    """Return the names of the nodes that stay fp32, which are in the stem and the head only."""
    first, last = proto.graph.input[0].name, proto.graph.output[0].name
    names: set[str] = set()
    if layers != "none" and first == "pixels":
        stem = next(block_of(node) for node in proto.graph.node if first in node.input)
        names |= {node.name for node in proto.graph.node if block_of(node) == stem}
    if layers == "ends" and last == "logits":
        names |= {node.name for node in proto.graph.node if last in node.output}
    return frozenset(names)


def _source(path: Path) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Return an fp32 model and its metadata."""
    metadata = model_metadata(path)
    if "exporter_version" not in metadata:
        raise UserError(f"{path} was not written by edgenas's exporter: export a subnet, and quantise that file")
    if "quantiser_recipe" in metadata:
        raise UserError(f"{path} is already int8, of recipe {metadata['quantiser_recipe']}: quantise the fp32 file")
    source = path.read_bytes()
    return onnx.load_from_string(source), {**metadata, "source_sha256": hashlib.sha256(source).hexdigest()}


def _refuse_undeployable(path: Path, metadata: Mapping[str, str]) -> None:
    if metadata.get("calibrated") != "true" or metadata.get("for_timing") == "true":
        raise UncalibratedError(
            f"{path} was exported for timing or from an uncalibrated subnet: "
            "export the subnet that edgenas.materialise(net, arch, images) returns, and quantise that"
        )


def _inputs(model: onnx.ModelProto, calibration: Inputs, images: int) -> list[npt.NDArray[np.float32]]:
    inputs = list(itertools.islice(calibration, images))
    if images < 1 or len(inputs) < images:
        raise DataError(
            f"expected {images} calibration images, got {len(inputs)}: set images to at least 1, or give more images"
        )
    expected = _input_shape(model)[1:]
    for value in inputs:
        if value.shape != expected or value.dtype != np.float32 or not np.isfinite(value).all():
            raise DataError(
                f"expected finite float32 inputs of shape {expected}, got {value.dtype} {value.shape}: preprocess them"
            )
    return inputs


def _input_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    return tuple(size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim)


def _save(model: onnx.ModelProto, out: Path, metadata: Mapping[str, str], recipe: QuantiserRecipe) -> Path:
    # Quantisation turns every graph variant into the direct one.
    properties = {**metadata, "graph_variant": "direct", "precision": "int8", "quantiser_recipe": recipe.id}
    onnx.helper.set_model_props(model, {f"edgenas.{key}": value for key, value in properties.items()})
    name_by_block(model.graph)
    onnx.checker.check_model(model, full_check=True)
    write_bytes(out, model.SerializeToString(deterministic=True))
    return out
