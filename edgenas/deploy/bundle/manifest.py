"""The manifest: all that is known about a bundle's models. Rates are fractions, times microseconds."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import Field, SerializerFunctionWrapHandler, WrapSerializer

from edgenas.deploy.onnx.parity import Int8Parity, Parity
from edgenas.files import SCHEMA_VERSION
from edgenas.latency.device import Device
from edgenas.records.bundle import FileAccuracy, FileLatency, Int8FileLatency, Samples, SearchFacts, SplitFacts
from edgenas.records.export import QatRecord, TimedLatency
from edgenas.records.finetune import FinetuneSummary, HalvingSummary
from edgenas.records.init import InitRecord
from edgenas.records.record import ArchParser, ArchText, Count, Fraction, Record, Verdict
from edgenas.space.graph_variant import GraphVariant
from edgenas.training.data.preprocess import Preprocess

Part = TypeVar("Part")


def _or_empty(part: object, serialise: SerializerFunctionWrapHandler) -> object:
    return {} if part is None else serialise(part)


OrEmpty = Annotated[Part | None, WrapSerializer(_or_empty)]
"""A part of the manifest that is an empty object in the file where there is none."""


class Int8Facts(Record):
    """All that is known about model_int8.onnx.

    Attributes:
        quantiser_recipe: the most accurate of those tried.
        recipes_tried: validation top-1 by recipe.
        quantiser_images: training images that calibrated the quantiser.
        accuracy: accuracy of the file.
        latency: latency by device.
        parity: comparison with the network of model.onnx.
        size_bytes: size of the file.
        costs: bytes of its weights, by name.
        fine_tuning: quantisation-aware fine-tuning; None where there was none.
        notes: for people.
    """

    quantiser_recipe: str
    recipes_tried: dict[str, Fraction]
    quantiser_images: Count
    accuracy: FileAccuracy
    latency: dict[str, Int8FileLatency]
    parity: Int8Parity
    size_bytes: Count
    costs: dict[str, Count]
    fine_tuning: QatRecord | None
    notes: tuple[str, ...]


class Manifest(Record):
    """manifest.json.

    Attributes:
        name: name of the bundle.
        created: date, ISO 8601.
        arch: the network.
        space: structure_id of the search space.
        dataset: name of the images.
        classes: labels in the order of the logits.
        preprocess: preprocessing of images.
        accuracy: accuracy of model.onnx.
        latency: latency of model.onnx by device.
        costs: macs, params, weight_bytes and peak_activation_bytes of model.onnx.
        calibration_images: training images that recalibrated batch norm.
        parity: comparison of model.onnx with the network that was scored.
        versions: versions of libraries, see `library_versions`.
        seed: seed of the run.
        precision: precision of model.onnx.
        graph_variant: operators of model.onnx, see `space.graph_variant`.
        batch: images that model.onnx takes at once, or `dynamic`. All values are stated for one at a time.
        preprocessing_included: whether models normalise pixels themselves, and latencies include that. Resizing and
            cropping are never inside.
        size_bytes: size of model.onnx.
        int8: facts about model_int8.onnx, if there is one.
        deployed: name of the file that is meant for each device.
        devices: the devices of `deployed` by name, without places of the machine that measured.
        splits: images by split.
        found: how the network was found.
        fine_tuning: fine-tuning after the search; empty where the network keeps the weights that it inherited.
        init: the pretrained network that training started from; empty where `train.init` names none.
        halving: successive halving that the network was fine-tuned in; empty where it was fine-tuned alone, or not.
        licences: licences of pretrained weights, and of latency tables of others that the predictions rest on.
        samples: sample inputs; `write_bundle` fills them in.
        files: SHA-256 of every other file of the bundle by name; `write_bundle` fills it in.
        digest: SHA-256 of the rest of the manifest, see `sealed`.
        verdict: verdict on the deployed files, the worst over all devices; None where no measured latency is limited.
        schema_version: schema of the file.
    """

    name: str
    created: str
    arch: ArchText
    space: str
    dataset: str
    classes: tuple[str, ...]
    preprocess: Preprocess
    accuracy: FileAccuracy
    latency: dict[str, FileLatency] = Field(default_factory=dict)
    costs: dict[str, Count]
    calibration_images: Count
    parity: Parity
    versions: dict[str, str]
    seed: int
    precision: Literal["fp32"] = "fp32"
    graph_variant: GraphVariant = "direct"
    batch: int | Literal["dynamic"] = 1
    preprocessing_included: bool = False
    size_bytes: Count = 0
    int8: OrEmpty[Int8Facts] = None
    deployed: dict[str, str] = Field(default_factory=dict)
    devices: dict[str, Device] = Field(default_factory=dict)
    splits: dict[str, SplitFacts] = Field(default_factory=dict)
    found: OrEmpty[SearchFacts] = None
    fine_tuning: OrEmpty[FinetuneSummary] = None
    init: OrEmpty[InitRecord] = None
    halving: OrEmpty[HalvingSummary] = None
    licences: tuple[str, ...] = ()
    samples: OrEmpty[Samples] = None
    files: dict[str, str] = Field(default_factory=dict)
    digest: str = ""
    verdict: Verdict | None = None
    schema_version: int = SCHEMA_VERSION

    @classmethod
    def parse(cls, value: object, origin: str, remedy: str, space: ArchParser | None = None) -> Self:
        """Return the manifest that JSON values stand for, see `Record.parse`. An empty object is an absent part."""
        if isinstance(value, dict):
            value = {name: part for name, part in value.items() if part != {}}
        return super().parse(value, origin, remedy, space)

    def sealed(self) -> Manifest:
        """Return the manifest with its digest, which reveals edits, unless the digest was edited as well."""
        return self.model_copy(update={"digest": digest_of(self.to_json())})

    @property
    def deployed_latency(self) -> dict[str, TimedLatency]:
        """The latency and verdict of the file that is meant for each device."""
        latency: dict[str, Mapping[str, FileLatency]] = {"model.onnx": self.latency}
        if self.int8 is not None:
            latency["model_int8.onnx"] = self.int8.latency
        return {device: TimedLatency.part_of(latency[file][device]) for device, file in self.deployed.items()}


def digest_of(manifest: Mapping[str, object]) -> str:
    """Return the SHA-256 of a manifest's JSON values without its digest; the kit's verify.py computes the same."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


def library_versions() -> dict[str, str]:
    """Return the versions of edgenas, torch, onnx and onnxruntime, for a manifest."""
    versions = {"edgenas": _edgenas_version()}
    return versions | {name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime")}


def _edgenas_version() -> str:
    try:
        return importlib.metadata.version("edgenas")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
