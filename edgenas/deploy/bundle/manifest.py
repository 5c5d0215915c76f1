"""The manifest: all that is known about a bundle's model."""

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
    """All that is known about a bundle's model. Rates are fractions, times microseconds.

    Attributes:
        name: of the bundle.
        created: date, ISO 8601.
        arch: the network's text form.
        space: the search space's structure_id.
        dataset: the images' name.
        classes: labels in the order of the logits.
        preprocess: `Preprocess.to_json()`.
        accuracy: validation_top1, test_top1 and test_images (how many); by class, in the order of `classes`,
            test_images_by_class and test_top1_by_class (null where the test set has none).
        latency: for each device predicted_us and interval_us (of files as they were profiled), p50_us, p95_us, of the
            deployed file verdict, limited (p50 or p95), limit_us, value_us and upper_us (see `JudgedLatency`),
            model_rss_bytes by which the model made the timer's process grow and process_rss_bytes that all of that
            process took (null where the system does not tell), and the circumstances.
        costs: macs, params, weight_bytes, peak_activation_bytes of model.onnx.
        calibration_images: on how many training images batch norm was recalibrated.
        parity: `Parity.to_json()`.
        versions: of what it was made with (see `library_versions`).
        seed: of the run.
        precision: of model.onnx.
        graph_variant: operators it is written in, see `space.graph_variant`.
        batch: how many images model.onnx takes at once, or `dynamic`; all is stated for one at a time.
        preprocessing_included: whether models normalise pixels themselves, and latencies include that. Resizing and
            cropping are never inside.
        size_bytes: of model.onnx.
        int8: of model_int8.onnx: its quantiser_recipe, the recipes_tried, accuracy, latency (and fp32's, timed beside
            it), parity (with the network of model.onnx), size_bytes, costs (its weight_bytes), fine_tuning (null, or
            what quantisation-aware fine-tuning took and brought), and notes for people; empty where there is none.
        deployed: which file is meant for which device, by its name.
        devices: those of `deployed` by name, as device files describe them (`Device`): what the machine is, and how
            models are run on it.
        splits: by name how many images a split of the data set has, and its sha256.
        found: how the network was found, and what that cost: strategy, evaluations, search_seconds, train_seconds,
            front_networks, the budgets, and `spent`: seconds and energy_joules by stage (null where not readable).
        fine_tuning: how the network was trained on its own after the search: `dataset`, `training_images`, `epochs`,
            `start` (inherited weights, or fresh ones), `teacher` (none, or the largest), `learning_rate_share`,
            `supernet` (the dataset it was trained on and the sha256 of its weights), `val_top1_before` (null where the
            supernet was trained on other images, whose classifier was replaced), `val_top1_after` and `seconds`. Empty
            where the network keeps the weights that it inherited.
        licences: notes on latency tables of others that the predictions rest on.
        samples: the file of sample inputs, how many there are, and for each model the tolerance of its outputs.
        files: SHA-256 of every other file of the bundle, by name; `write_bundle` fills it in.
        digest: SHA-256 of the rest of the manifest, see `sealed`.
        verdict: on the deployed files, the worst over all devices: `within` the latency budgets, `not significant` or
            `over`, see `profiling.verdict`; None where no measured latency is limited.
        schema_version: of the manifest.
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
        """Return the manifest as `manifest.json` has it."""
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
    """Return the latency and verdict of the file that is meant for each device, from a manifest's JSON."""
    files = {"model.onnx": manifest} | ({"model_int8.onnx": manifest["int8"]} if manifest["int8"] else {})
    latency = {name: files[file]["latency"][name] for name, file in manifest["deployed"].items()}
    return {name: {key: one[key] for key in (*SHIPPED_KEYS, *EVIDENCE_KEYS)} for name, one in latency.items()}


def library_versions() -> dict[str, str]:
    """Return the versions of edgenas, torch, onnx and onnxruntime, for a manifest."""
    versions = {"edgenas": _edgenas_version()}
    return versions | {name: importlib.metadata.version(name) for name in ("torch", "onnx", "onnxruntime")}


def _edgenas_version() -> str:
    try:
        return importlib.metadata.version("edgenas")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
