"""int8: exported files quantised by ONNX Runtime's quantiser, in one form that its CPU kernels run fastest.

Static, as pairs of QuantizeLinear and DequantizeLinear (QDQ, the form that the runtime's CPU kernels are fused from);
weights int8 by output channel, activations uint8. The runtime's documentation names that pair of types for x86,
where only uint8 activations have fused kernels. Before quantising, operators that have no int8 kernel are written as
others that do (see `to_integer_graph`).
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
    name_by_block,
    narrow_ranges,
    open_borders,
    sort_by_execution,
    to_integer_graph,
)
from edgenas.deploy.int8.quantiser_recipe import FloatLayers, Method, QuantiserRecipe
from edgenas.deploy.onnx.exporter import model_metadata
from edgenas.errors import DataError, UncalibratedError, UserError
from edgenas.files import write_bytes

Inputs = Iterable[npt.NDArray[np.float32]]
"""A network's preprocessed inputs, one (3, r, r) after the other; an array (n, 3, r, r) is one, too."""

CALIBRATION_IMAGES = 256
OPERATORS = (
    *("Conv", "Gemm", "MatMul", "Add", "Mul", "HardSigmoid", "Sigmoid", "Relu", "Clip"),
    *("GlobalAveragePool", "AveragePool", "MaxPool", "Concat", "Reshape", "Flatten", "Squeeze", "Unsqueeze"),
)
"""What is quantised; the runtime's own list differs between its versions."""
IMAGES_AT_ONCE = 16
"""Whose activations, of every layer, are in memory together while histograms are made."""
METHODS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    # With its default of 128 bins, as many as it merges them to, the runtime has a single threshold to choose from.
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 256, "num_quantized_bins": 128}),
    "percentile": (CalibrationMethod.Percentile, {"percentile": 99.99, "symmetric": False, "num_bins": 2048}),
}


def quantise(
    model: Path, out: Path, calibration: Inputs, recipe: QuantiserRecipe, *, images: int = CALIBRATION_IMAGES
) -> Path:
    """Write the int8 form of an exported file; see `quantise_each`."""
    return quantise_each(model, {recipe: out}, calibration, images=images)[recipe]


def quantise_each(
    model: Path,
    outs: Mapping[QuantiserRecipe, Path],
    calibration: Inputs,
    *,
    images: int = CALIBRATION_IMAGES,
) -> dict[QuantiserRecipe, Path]:
    """Write the int8 form of an exported file by each of several recipes.

    Input and output keep name, shape and type (float32). Metadata is kept, and says besides: precision,
    quantiser_recipe, quantiser_images (how many images calibrated it), quantiser_images_sha256 (of the inputs made
    of them), source_sha256 (of `model`).

    Args:
        model: from `export_onnx`, of a calibrated subnet.
        outs: where each form goes; old files are replaced.
        calibration: of training images.
        images: how many of them to use, the first ones.

    Raises:
        UncalibratedError: `model` was exported for timing or from an uncalibrated subnet.
        UserError: `model` is no fp32 file of our exporter.
        DataError: fewer images than `images`, or inputs that do not fit the model.
    """
    proto, metadata = _source(model)
    _refuse_undeployable(model, metadata)
    inputs = _inputs(proto, calibration, images)
    metadata |= {
        "quantiser_images": str(len(inputs)),
        "quantiser_images_sha256": hashlib.sha256(np.stack(inputs).tobytes()).hexdigest(),
    }
    form = to_integer_graph(proto)
    ranges = {method: calibrate(form, inputs, method) for method in dict.fromkeys(recipe.method for recipe in outs)}
    for recipe, out in outs.items():
        _save(_quantised(proto, ranges[recipe.method], recipe), out, metadata, recipe)
    return dict(outs)


def quantise_for_timing(model: Path, out: Path, recipe: QuantiserRecipe) -> Path:
    """Write the int8 form of a network or a block, calibrated on noise, to be timed.

    A block stands in a network between others of uint8 in channels-last memory, which the runtime's int8 kernels
    work in. So, but for `pixels` and `logits`, inputs and outputs become uint8 of shape (1, height, width, channels):
    no quantising and no reordering is timed that the network does not do.

    Args:
        model: from `export_for_timing`, or any exported file.
        out: where it goes; may be `model`.
        recipe: its method does not matter.
    """
    proto, metadata = _source(model)
    shape = _input_shape(proto)
    noise = np.random.default_rng(0).standard_normal((2, *shape[1:])).astype(np.float32)
    ranges = calibrate(to_integer_graph(proto), list(noise), "minmax")
    quantised = _quantised(proto, ranges, recipe)
    open_borders(quantised)
    return _save(quantised, out, {**metadata, "for_timing": "true"}, recipe)


@dataclass(frozen=True)
class RecipeChoice:
    """The recipe that was chosen among several.

    Attributes:
        recipe: the chosen one.
        path: its file.
        top1: share of validation images classified right, by recipe.
    """

    recipe: QuantiserRecipe
    path: Path
    top1: Mapping[QuantiserRecipe, float]

    @property
    def best_top1(self) -> float:
        """The chosen one's."""
        return self.top1[self.recipe]


def choose_recipe(files: Mapping[QuantiserRecipe, Path], score: Callable[[Path], float]) -> RecipeChoice:
    """The most accurate of several quantised files.

    Args:
        files: from `quantise_each`, in order of latency: among equally accurate ones the first is chosen.
        score: top-1 on validation images, computed by the runtime.
    """
    if not files:
        raise ValueError("expected at least one quantised file to choose from")
    top1 = {recipe: score(path) for recipe, path in files.items()}
    best = max(top1, key=lambda recipe: top1[recipe])
    return RecipeChoice(best, files[best], top1)


def calibrate(form: onnx.ModelProto, inputs: Sequence[npt.NDArray[np.float32]], method: Method) -> dict[str, Range]:
    """Ranges of all activations that may be quantised, by tensor.

    Args:
        form: from `to_integer_graph`.
        inputs: each (3, r, r).
        method: see `QuantiserRecipe`.
    """
    kind, options = METHODS[method]
    name = form.graph.input[0].name
    # The runtime prints its progress on the standard output, and divides by empty bins.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
        path = Path(folder) / "form.onnx"
        onnx.save(form, path)
        augmented = str(Path(folder) / "augmented.onnx")
        calibrator = create_calibrator(path, OPERATORS, augmented, kind, extra_options=options)
        for start in range(0, len(inputs), IMAGES_AT_ONCE):
            calibrator.collect_data(_Reader(name, inputs[start : start + IMAGES_AT_ONCE]))
        found = calibrator.compute_data()
    return {tensor: (float(np.squeeze(data.lowest)), float(np.squeeze(data.highest))) for tensor, data in found.items()}


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Inputs, one at a time, as the runtime asks for them."""

    def __init__(self, name: str, inputs: Sequence[npt.NDArray[np.float32]]):
        self._feeds: Iterator[dict[str, npt.NDArray[np.float32]]] = iter([{name: value[None]} for value in inputs])

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        return next(self._feeds, None)


def _quantised(proto: onnx.ModelProto, ranges: Mapping[str, Range], recipe: QuantiserRecipe) -> onnx.ModelProto:
    in_float = _in_float(proto, recipe.float_layers)
    form = to_integer_graph(proto, in_float)
    tensors = {
        tensor: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for tensor, (low, high) in narrow_ranges(ranges, form).items()
    }
    quantizer = QDQQuantizer(
        form,
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
    # The quantiser appends its nodes at the end, and where it sorts them, it does so breadth first.
    sort_by_execution(quantised.graph)
    drop_gates(quantised)
    del quantised.graph.value_info[:]
    quantised.producer_name, quantised.producer_version = proto.producer_name, proto.producer_version
    return quantised


def _in_float(proto: onnx.ModelProto, layers: FloatLayers) -> frozenset[str]:
    """Names of the nodes that stay fp32; a block that is neither stem nor head has none."""
    first, last = proto.graph.input[0].name, proto.graph.output[0].name
    names: set[str] = set()
    if layers != "none" and first == "pixels":
        stem = next(block_of(node) for node in proto.graph.node if first in node.input)
        names |= {node.name for node in proto.graph.node if block_of(node) == stem}
    if layers == "ends" and last == "logits":
        names |= {node.name for node in proto.graph.node if last in node.output}
    return frozenset(names)


def _source(path: Path) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The fp32 model and what is known about it."""
    metadata = model_metadata(path)
    if "exporter_version" not in metadata:
        raise UserError(f"{path} was not written by edgenas' exporter: export a subnet, and quantise that file")
    if "quantiser_recipe" in metadata:
        raise UserError(f"{path} is int8 already, by {metadata['quantiser_recipe']}: quantise the fp32 file")
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
            f"expected {images} calibration images, got {len(inputs)}: ask for no more than there are, and at least 1"
        )
    wanted = _input_shape(model)[1:]
    for value in inputs:
        if value.shape != wanted or value.dtype != np.float32 or not np.isfinite(value).all():
            raise DataError(
                f"expected finite float32 inputs {wanted}, got {value.dtype} {value.shape}: preprocess them"
            )
    return inputs


def _input_shape(model: onnx.ModelProto) -> tuple[int, ...]:
    return tuple(size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim)


def _save(model: onnx.ModelProto, out: Path, metadata: Mapping[str, str], recipe: QuantiserRecipe) -> Path:
    # Quantised, every graph variant becomes the plain one.
    named = {**metadata, "graph_variant": "direct", "precision": "int8", "quantiser_recipe": recipe.id}
    onnx.helper.set_model_props(model, {f"edgenas.{key}": value for key, value in named.items()})
    name_by_block(model.graph)
    onnx.checker.check_model(model, full_check=True)
    write_bytes(out, model.SerializeToString(deterministic=True))
    return out
