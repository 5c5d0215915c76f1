"""Once-for-all's published accuracy predictors: small networks from an architecture to its top-1.

Cai et al., "Once-for-All: Train One Network and Specialize it for Efficient Deployment", ICLR 2020.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgenas.accuracy.scores import StatedAccuracy
from edgenas.blas import one_blas_thread
from edgenas.errors import DataError, SpaceError, UserError, explained, first_line
from edgenas.files import SCHEMA_VERSION, check_schema, write_bytes
from edgenas.first_bytes import stand_in_cause
from edgenas.records.folder import AccuracySummary
from edgenas.space.arch import Arch
from edgenas.space.blocks.inverted_residual import InvertedResidualGenes
from edgenas.space.space import SearchSpace

Floats = npt.NDArray[np.float64]
Layers = tuple[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]], ...]
STAGES, POSITIONS = 5, 4
KERNELS, EXPANDS = (3, 5, 7), (3, 4, 6)
RESOLUTIONS = tuple(range(112, 225, 16))
INPUTS = STAGES * POSITIONS * (len(KERNELS) + len(EXPANDS)) + len(RESOLUTIONS)
KIND = "ofa-accuracy"
HEADER = "edgenas"
IMPORT_ADVICE = "expected a file that `edgenas import ofa-accuracy FILE.pth` writes"


class PredictorFacts(BaseModel):
    """The header of a predictor's file.

    Attributes:
        space: structure_id of the space of its architectures.
        dataset: name of the data set of its top-1.
        num_classes: number of classes of that set.
        source_sha256: digest of the published file.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    space: str
    dataset: str = "imagenet"
    num_classes: Annotated[int, Field(ge=2)] = 1000
    source_sha256: str = ""


class OFAAccuracy:
    """A network of ReLU layers on one-hot kernels, expand ratios and resolution; inactive blocks are zeros.

    It predicts top-1 on images held out of training. For the published predictor, this is 3.8 points above top-1 on
    ImageNet's validation set, so it is suited to rank architectures, but not to be reported.
    """

    def __init__(self, layers: Layers, facts: PredictorFacts) -> None:
        """Store the layers: weights of shape (out, in) and biases of shape (out,)."""
        self.layers = layers
        self.facts = facts

    @classmethod
    def read_published(cls, path: Path, facts: PredictorFacts) -> OFAAccuracy:
        """Read a published file, a torch state dict of alternating weights and biases, which lacks the `facts`.

        Raises:
            DataError: the file is missing or broken, or has other content.
        """
        import torch

        try:
            data = path.read_bytes()
            state = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
            arrays = [value.numpy().astype(np.float32) for value in state.values()]
        except (OSError, RuntimeError, EOFError, AttributeError, TypeError, pickle.UnpicklingError) as error:
            raise DataError(
                f"{path} cannot be read as an accuracy predictor: {stand_in_cause(path) or first_line(error)}"
            ) from None
        digest = hashlib.sha256(data).hexdigest()
        return cls(_layers(arrays, path), facts.model_copy(update={"source_sha256": digest}))

    @classmethod
    def load(cls, path: Path) -> OFAAccuracy:
        """Read a file that `save` wrote.

        Raises:
            DataError: the file is missing or broken, of a newer schema, or has other content.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                value = json.loads((file.metadata() or {})[HEADER])
                if value.get("kind") != KIND:
                    raise ValueError(f"its kind is {value.get('kind')!r}")
                check_schema(value, path)
                facts = PredictorFacts.model_validate(value)
                names = sorted(file.keys(), key=lambda name: (int(name.partition(".")[0]), name.endswith("bias")))
                arrays = [file.get_tensor(name) for name in names]
        except (OSError, SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
            message = explained(error.errors()) if isinstance(error, ValidationError) else first_line(error)
            if isinstance(error, UserError):
                raise DataError(message) from None
            raise DataError(f"{path} is no accuracy predictor of edgenas ({message}): {IMPORT_ADVICE}") from None
        return cls(_layers(arrays, path), facts)

    def save(self, path: Path) -> None:
        """Write safetensors `0.weight`, `0.bias`, `1.weight`, …, with the facts as JSON in the header of the file."""
        from safetensors.numpy import save

        arrays = {
            f"{number}.{part}": np.ascontiguousarray(array)
            for number, layer in enumerate(self.layers)
            for part, array in zip(("weight", "bias"), layer, strict=True)
        }
        header = json.dumps({"schema_version": SCHEMA_VERSION, "kind": KIND, **self.facts.model_dump()})
        write_bytes(path, save(arrays, {HEADER: header}))

    def check_space(self, space: SearchSpace) -> None:
        """Refuse a space that the predictor does not support.

        Raises:
            DataError: the space is another one, or has other resolutions.
        """
        if self.facts.space != space.structure_id:
            raise DataError(
                f"the accuracy predictor is for space {self.facts.space}, got {space.structure_id} ({space.name}): "
                "use the space that it was trained for"
            )
        unknown = sorted(set(space.resolution) - set(RESOLUTIONS))
        if unknown:
            raise DataError(
                f"the accuracy predictor supports resolutions {', '.join(map(str, RESOLUTIONS))}, but the space also "
                f"has {', '.join(map(str, unknown))}: narrow it, e.g. `space: {{preset: NAME, resolution: [224]}}`"
            )

    @one_blas_thread()
    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Return predicted top-1, a fraction, shape (n,).

        Raises:
            SpaceError: an architecture is not in one of the once-for-all MobileNetV3 spaces at 112, 128, … 224 pixels.
        """
        hidden = np.array([_features(arch) for arch in archs], dtype=np.float32).reshape(-1, INPUTS)
        for number, (weight, bias) in enumerate(self.layers):
            hidden = np.maximum(hidden, 0) @ weight.T + bias if number else hidden @ weight.T + bias
        return hidden[:, 0].astype(np.float64)


@dataclass(frozen=True, eq=False)
class PredictedAccuracy(StatedAccuracy):
    """Accuracy source: an imported predictor of once-for-all."""

    predictor: OFAAccuracy
    name: str
    dataset: str
    num_classes: int
    digest: str

    def top1(self, archs: Sequence[Arch]) -> Floats:
        """Return predicted top-1, a fraction, shape (n,)."""
        return np.clip(self.predictor.top1(archs), 0, 1)

    def interval(self, archs: Sequence[Arch]) -> None:
        """Return None: the predictor gives no interval."""
        return

    def summary(self) -> AccuracySummary:
        """Return the file and the data set; the file does not state the quality."""
        return AccuracySummary(predictor=self.name, sha256=self.digest, dataset=self.dataset)


def _layers(arrays: Sequence[npt.NDArray[np.float32]], path: Path) -> Layers:
    layers = tuple(zip(arrays[::2], arrays[1::2], strict=False))
    if not _chained(layers, len(arrays)):
        shapes = [array.shape for array in arrays]
        raise DataError(
            f"{path}: expected layers from {INPUTS} inputs to one output, weights and biases in turn, got {shapes}"
        )
    return layers


def _chained(layers: Layers, arrays: int) -> bool:
    if not layers or arrays != 2 * len(layers) or any(w.ndim != 2 or b.shape != w.shape[:1] for w, b in layers):
        return False
    widths = [INPUTS, *(len(weight) for weight, _ in layers)]
    return widths[-1] == 1 and all(weight.shape[1] == width for width, (weight, _) in zip(widths, layers, strict=False))


def _features(arch: Arch) -> npt.NDArray[np.float32]:
    """Return one-hot features in order of position: 60 of kernels, 60 of expand ratios, 8 of resolutions."""
    kernels = np.zeros((STAGES, POSITIONS, len(KERNELS)), dtype=np.float32)
    expands = np.zeros((STAGES, POSITIONS, len(EXPANDS)), dtype=np.float32)
    resolution = np.zeros(len(RESOLUTIONS), dtype=np.float32)
    try:
        resolution[RESOLUTIONS.index(arch.resolution)] = 1
        for s, stage in enumerate(arch.stages[1:]):
            for b, block in enumerate(stage.blocks):
                if not isinstance(block, InvertedResidualGenes):
                    raise ValueError(f"block {block} is of another kind")
                kernels[s, b, KERNELS.index(block.kernel)] = 1
                expands[s, b, EXPANDS.index(int(block.expand))] = 1
    except (ValueError, IndexError):
        raise SpaceError(
            f"arch {arch}: expected one of the once-for-all MobileNetV3 spaces at "
            f"{', '.join(map(str, RESOLUTIONS))} pixels"
        ) from None
    return np.concatenate([kernels.ravel(), expands.ravel(), resolution])
