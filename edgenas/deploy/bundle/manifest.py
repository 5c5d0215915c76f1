"""Manifest of a bundle, with all facts about its models."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgenas.files import SCHEMA_VERSION


@dataclass(frozen=True)
class Manifest:
    """Facts about a bundle's models. Rates are fractions, and times are microseconds unless stated otherwise.

    Attributes:
        name: name of the bundle.
        created: date in ISO 8601.
        arch: text form of the architecture.
        space: structure_id of the search space.
        dataset: name of the data set.
        classes: labels in the order of the logits.
        preprocess: `Preprocess.to_json()`.
        accuracy: validation_top1, test_top1 and test_images (their number), and in the order of `classes`
            test_images_by_class and test_top1_by_class (null for classes without test images).
        latency: values by device. predicted_us and interval_us are for the profiled files, p50_us and p95_us are
            measured. verdict, limited (p50 or p95), limit_us, value_us and upper_us are those of the deployed file, see
            `JudgedLatency`. model_rss_bytes is the growth of the timer's process by the model, and process_rss_bytes
            the memory of that process (null if the system does not report it). The circumstances are included.
        costs: macs, params, weight_bytes and peak_activation_bytes of model.onnx.
        calibration_images: number of training images that batch norm was recalibrated on.
        parity: `Parity.to_json()`.
        versions: versions of the libraries, see `library_versions`.
        seed: seed of the run.
        precision: precision of model.onnx.
        graph_variant: graph variant of model.onnx, see `space.graph_variant`.
        batch: number of images that model.onnx takes at once, or `dynamic`. Accuracies and latencies are for one.
        preprocessing_included: whether models normalise pixels, which latencies then include. Resizing and cropping are
            never included.
        size_bytes: size of model.onnx.
        int8: values of model_int8.onnx, empty if there is none: quantiser_recipe, recipes_tried, accuracy, latency
            (also of the fp32 file, timed in the same session), parity (with the network of model.onnx), size_bytes,
            costs (weight_bytes), fine_tuning (duration and gain of quantisation-aware fine-tuning, or null), and notes.
        deployed: name of the file for each device.
        devices: devices of `deployed` by name, as in device files (`Device`).
        splits: number of images and sha256 of each split of the data set, by name.
        found: facts of the search: strategy, evaluations, search_seconds, train_seconds, front_networks, budgets, and
            `spent`, the seconds and energy_joules by stage (null if not readable).
        fine_tuning: facts of the training after the search, empty if the network has its inherited weights. `dataset`,
            `training_images`, `epochs`, `start` (inherited or fresh weights), `teacher` (none, or the largest),
            `learning_rate_share`, `supernet` (its data set and the sha256 of its weights), `val_top1_before` (null if
            the supernet was trained on other images and the classifier was replaced), `val_top1_after` and `seconds`.
        licences: notes on licences of the latency tables that the predictions are based on.
        samples: file of the sample inputs, their number, and the tolerance of each model's outputs.
        files: SHA-256 of every other file of the bundle by name, which `write_bundle` fills in.
        digest: SHA-256 of the rest of the manifest, see `sealed`.
        verdict: worst verdict on the deployed files over all devices: `within` the latency budgets, `not significant`
            or `over`, see `profiling.verdict`; None if no measured latency is limited.
        schema_version: version of the manifest's format.
    """

    name: str
    created: str
    arch: str
    space: str
    dataset: str
    classes: tuple[str, ...]
    preprocess: Mapping[str, Any]
    accuracy: Mapping[str, Any]
    latency: Mapping[str, Mapping[str, Any]]
    costs: Mapping[str, int]
    calibration_images: int
    parity: Mapping[str, Any]
    versions: Mapping[str, str]
    seed: int
    precision: str = "fp32"
    graph_variant: str = "direct"
    batch: int | str = 1
    preprocessing_included: bool = False
    size_bytes: int = 0
    int8: Mapping[str, Any] = field(default_factory=dict)
    deployed: Mapping[str, str] = field(default_factory=dict)
    devices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    splits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    fine_tuning: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    samples: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""
    verdict: str | None = None
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Return the values of `manifest.json`."""
        return dataclasses.asdict(self)

    def sealed(self) -> Manifest:
        """Return the manifest with its digest, which reveals edits, unless the digest was edited as well."""
        return dataclasses.replace(self, digest=digest_of(self.to_json()))


def digest_of(manifest: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a manifest without its digest; the kit's verify.py computes the same."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()


SHIPPED_KEYS = (
    "p50_us",
    "p95_us",
    "ci_low_us",
    "ci_high_us",
    "count",
    "verdict",
    "limited",
    "limit_us",
    "value_us",
    "upper_us",
)
EVIDENCE_KEYS = ("sessions", "repeated", "warnings", "model_rss_bytes", "process_rss_bytes")


def deployed_latency(manifest: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the latency and verdict of each device's file, from the JSON of a manifest."""
    files = {"model.onnx": manifest} | ({"model_int8.onnx": manifest["int8"]} if manifest["int8"] else {})
    latency = {name: files[file]["latency"][name] for name, file in manifest["deployed"].items()}
    return {name: {key: values[key] for key in (*SHIPPED_KEYS, *EVIDENCE_KEYS)} for name, values in latency.items()}


def library_versions() -> dict[str, str]:
    """Return the versions of edgenas, torch, onnx and onnxruntime, for a manifest."""
    versions = {"edgenas": _edgenas_version()}
    return versions | {name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime")}


def _edgenas_version() -> str:
    try:
        return importlib.metadata.version("edgenas")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
