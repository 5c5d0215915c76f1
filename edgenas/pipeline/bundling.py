"""One network of a run becomes a bundle in the form asked for: exported, proven, quantised, timed, scored."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

from edgenas.deploy.batches import check_batches
from edgenas.deploy.bundle import INT8_MODEL, MODEL, Manifest, library_versions, write_bundle
from edgenas.deploy.embed import embed_preprocessing
from edgenas.deploy.onnx_export import export_onnx
from edgenas.deploy.parity import Int8Parity, Parity, check_parity, onnx_top1
from edgenas.deploy.quantize import Choice
from edgenas.deploy.recipe import QuantiserRecipe
from edgenas.errors import RunFolderError
from edgenas.pipeline.data import (
    calibration_pictures,
    check_quantiser_images,
    deployed_preprocess,
    run_dataset,
    scoring_split,
)
from edgenas.pipeline.devices import run_devices, run_transport
from edgenas.pipeline.fine_tuning import FineTuning, fine_tuned, outcome, tuning_due
from edgenas.pipeline.finetune import finetuned_subnet
from edgenas.pipeline.form import PLAIN
from edgenas.pipeline.front_int8 import Int8File, precisions
from edgenas.pipeline.graphs import Graphs
from edgenas.pipeline.int8 import Comparison, int8_gate, needs_seven_bits, quantised
from edgenas.pipeline.profile import run_form, run_table
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.train import trained_supernet
from edgenas.pipeline.verify import model_path
from edgenas.profiling.record import Measurement
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport import installed_runtime
from edgenas.space.arch import Arch
from edgenas.space.cost import cost
from edgenas.supernet.subnet import Subnet
from edgenas.training.data import Dataset
from edgenas.training.evaluate import materialise
from edgenas.training.preprocess import Preprocess
from edgenas.training.split import Split

PICTURES_AT_ONCE = 10_000
Measured = Mapping[str, Mapping[str, Measurement]]
"""Measurements by device and precision."""


@dataclass(frozen=True)
class BundleOptions:
    """How a bundle's files are asked for.

    Attributes:
        precision: with int8, the bundle holds the fp32 file, too.
        dynamic_batch: how many pictures are taken at once is left open.
        embed_preprocessing: pixels are normalised inside.
    """

    precision: Literal["fp32", "int8"] = "fp32"
    dynamic_batch: bool = False
    embed_preprocessing: bool = False

    @property
    def as_measured(self) -> bool:
        """Whether files are the very ones that `verify` measures."""
        return not (self.dynamic_batch or self.embed_preprocessing)

    def __str__(self) -> str:
        words = {"dynamic": self.dynamic_batch, "embedded": self.embed_preprocessing}
        return "-".join([self.precision, *(word for word, said in words.items() if said)])


def run_precision(run: Run) -> Literal["fp32", "int8"]:
    """The precision of a run's own bundle: int8 where its config asks for it, or a device runs it."""
    return "int8" if "int8" in {run.config.export.precision, *precisions(run)} else "fp32"


@dataclass(frozen=True)
class _Network:
    """What is to be bundled, and what its files are proven and scored on."""

    run: Run
    dataset: Dataset
    subnet: Subnet
    preprocess: Preprocess
    options: BundleOptions
    folder: Path
    verified: tuple[dict[str, Any], Path] | None

    @property
    def arch(self) -> Arch:
        assert self.subnet.arch is not None
        return self.subnet.arch


@dataclass(frozen=True)
class _Int8:
    """A file that passed its gate, and how its recipe was chosen."""

    path: Path
    choice: Choice
    parity: Int8Parity
    tuning: FineTuning | None


def make_bundle(run: Run, arch: Arch, options: BundleOptions, out: Path, progress: Progress) -> Manifest:
    """Write the bundle of one arch of the run's space; a former bundle in `out` is replaced.

    Raises:
        ParityError: a file computes something else than the subnet, or int8 is less accurate than allowed; nothing is
            written.
        DataError: fewer training pictures than `export.calibration_images`.
        MeasurementError: a file could not be timed.
    """
    dataset = run_dataset(run)
    if options.precision == "int8":
        check_quantiser_images(run.config, len(dataset.train))
    tuned = finetuned_subnet(run, dataset, arch)
    subnet = tuned or materialise(trained_supernet(run, dataset), arch, calibration_pictures(run, dataset)).cpu()
    # In the run folder, where the next start clears away what a kill leaves.
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".export.") as folder:
        preprocess, verified = deployed_preprocess(arch, dataset), None if tuned else _verified(run, arch)
        network = _Network(run, dataset, subnet, preprocess, options, Path(folder), verified)
        steps = 4 if options.precision == "int8" else 3
        progress("proving the export", 0, steps)
        plain = _plain_fp32(network)
        fp32, parity = _proven_fp32(network, plain)
        progress("proving the export", 1, steps)
        int8 = _proven_int8(network, plain, progress) if options.precision == "int8" else None
        progress("proving the export", steps - 2, steps)
        measured = _measure(network, {"fp32": fp32} | ({"int8": int8.path} if int8 else {}), progress)
        progress("proving the export", steps - 1, steps)
        manifest = _manifest(network, fp32, parity, int8, measured)
        write_bundle(out, model=fp32, int8_model=int8.path if int8 else None, manifest=manifest, replace=True)
    progress("proving the export", steps, steps)
    return manifest


def _verified(run: Run, arch: Arch) -> tuple[dict[str, Any], Path] | None:
    """What `verify` found out about an arch, and the file that it measured; None where it did not."""
    verified = run.result("verify")
    for number, entry in enumerate(verified["front"]):
        if entry["arch"] == arch.id:
            model = verified["model"] if arch.id == verified["chosen"] else model_path(number)
            for path in (model, *([entry["int8"]["model"]] if entry.get("int8") else [])):
                if not (run.folder / path).exists():
                    raise RunFolderError(
                        f"{run.folder / path} is missing: delete {run.result_path('verify')} and run "
                        f"`edgenas verify {run.folder}`"
                    )
            return entry, run.folder / model
    return None


def _plain_fp32(network: _Network) -> Path:
    """The fp32 file without preprocessing: the one that was measured, where its form is asked for."""
    if network.verified is not None and not network.options.dynamic_batch:
        return network.verified[1]
    path, form = network.folder / "fp32.onnx", run_form(network.run)
    return export_onnx(network.subnet, path, form=form, dynamic_batch=network.options.dynamic_batch)


def _proven_fp32(network: _Network, plain: Path) -> tuple[Path, Parity]:
    """The file to be delivered; without its preprocessing it is proven first, since then a failure names the block."""
    parity = _parity(network, plain)
    if not network.options.embed_preprocessing:
        return plain, parity
    embedded = embed_preprocessing(plain, network.folder / "fp32-embedded.onnx", network.preprocess)
    return embedded, _parity(network, embedded)


def _parity(network: _Network, model: Path) -> Parity:
    pictures = network.dataset.validation.pictures[: network.run.config.export.parity_images]
    parity = check_parity(network.subnet, model, pictures, network.preprocess)
    if network.options.dynamic_batch:
        check_batches(model, pictures, network.preprocess)
    return parity


def _proven_int8(network: _Network, plain: Path, progress: Progress) -> _Int8:
    run, dataset, preprocess = network.run, network.dataset, network.preprocess
    fp32_top1 = _validation_top1(network, plain)
    choice, tuning = _choose(network, plain, fp32_top1, progress)
    path = choice.path
    parity = int8_gate(run, dataset, network.subnet, path, preprocess, fp32_top1)
    if network.options.embed_preprocessing:
        path = embed_preprocessing(path, network.folder / "int8-embedded.onnx", preprocess)
        parity = int8_gate(run, dataset, network.subnet, path, preprocess, fp32_top1)
    if network.options.dynamic_batch:
        check_batches(path, dataset.validation.pictures[: run.config.export.parity_images], preprocess)
    return _Int8(path, choice, parity, tuning)


def _choose(network: _Network, plain: Path, fp32_top1: float, progress: Progress) -> tuple[Choice, FineTuning | None]:
    """The int8 file that `verify` measured; else the most accurate, of the network or, where due, fine-tuned."""
    run, dataset, devices = network.run, network.dataset, list(run_devices(network.run).values())
    measured = _measured_int8(network)
    if measured is not None:
        return measured, None
    quantise = partial(quantised, run, dataset, preprocess=network.preprocess, devices=devices)
    choice = quantise(model=plain, folder=network.folder)
    drop = fp32_top1 - choice.best_top1
    if not tuning_due(run, drop):
        return choice, None
    tuned, seconds = fine_tuned(run, dataset, network.subnet, progress, seven_bit_weights=needs_seven_bits(devices))
    folder = network.folder / "fine-tuned"
    model = export_onnx(tuned, folder / "fp32.onnx", dynamic_batch=network.options.dynamic_batch)
    other = quantise(model=model, folder=folder)
    tuning = outcome(run, dataset, seconds, drop, fp32_top1 - other.best_top1)
    return (other if tuning.kept else choice), tuning


def _measured_int8(network: _Network) -> Choice | None:
    """The int8 file without preprocessing that `verify` measured, where its form is asked for."""
    if network.verified is None or network.options.dynamic_batch or not network.verified[0].get("int8"):
        return None
    return Int8File.from_json(network.verified[0]["int8"]).choice(network.run.folder)


def _measure(network: _Network, models: Mapping[str, Path], progress: Progress) -> Measured:
    """Files timed side by side on every device, but where `verify` timed the only one."""
    run, done = network.run, _judged(network, "fp32") if len(models) == 1 else {}
    return {
        name: measure_networks(
            models,
            device,
            rounds=run.config.verify.rounds,
            seed=run.config.seed,
            out=network.folder / f"{name}.jsonl",
            transport=run_transport(run, device),
            progress=lambda _, done, total: progress("timing the export", done, total),
        )
        for name, device in run_devices(run).items()
        if name not in done
    }


def _judged(network: _Network, precision: str) -> dict[str, dict[str, Any]]:
    """What `verify` found of the file of a precision, by device, where that is of the form asked for."""
    if network.verified is None or not network.options.as_measured:
        return {}
    run, latency = network.run, network.verified[0]["latency"]
    names = [name for name, device in run_devices(run).items() if device.run.precision == precision]
    return {name: latency[name] | circumstances(run, name) | {"preprocessing_included": False} for name in names}


def _manifest(network: _Network, fp32: Path, parity: Parity, int8: _Int8 | None, measured: Measured) -> Manifest:
    run, dataset, arch, options = network.run, network.dataset, network.arch, network.options
    verified = network.verified
    costs = cost(run.space.unroll(arch, dataset.num_classes), run_form(run))
    return Manifest(
        name=run.config.name,
        created=datetime.now(UTC).strftime("%Y-%m-%d"),
        arch=arch.id,
        space=run.space.structure_id,
        dataset=dataset.name,
        classes=dataset.classes,
        preprocess=network.preprocess.to_json(),
        accuracy={
            "validation_top1": verified[0]["val_top1"] if verified else _validation_top1(network, fp32),
            # The test split is looked at here for the first time, and only with the network already chosen.
            "test_top1": _top1(fp32, dataset.test, network.preprocess),
            "test_images": len(dataset.test),
        },
        latency=_fp32_latency(network, measured),
        costs=costs.to_json(),
        calibration_images=network.subnet.calibration_images,
        parity=parity.to_json(),
        versions=library_versions(),
        seed=run.config.seed,
        form=run_form(run),
        batch="dynamic" if options.dynamic_batch else 1,
        preprocessing_included=options.embed_preprocessing,
        size_bytes=fp32.stat().st_size,
        int8=_int8_section(network, int8, measured) if int8 else {},
        deployed={
            name: INT8_MODEL if int8 and device.run.precision == "int8" else MODEL
            for name, device in run_devices(run).items()
        },
    )


def _fp32_latency(network: _Network, measured: Measured) -> dict[str, dict[str, Any]]:
    timed = {name: _latency(network, name, found["fp32"]) for name, found in measured.items()}
    found = timed | _judged(network, "fp32")
    return {name: found[name] for name in run_devices(network.run)}


def _int8_section(network: _Network, int8: _Int8, measured: Measured) -> dict[str, Any]:
    recipe, judged = int8.choice.recipe, _judged(network, "int8")
    compared = {name: Comparison(name, found["fp32"], found["int8"]) for name, found in measured.items()}
    return {
        "quantiser_recipe": recipe.id,
        "recipes_tried": {tried.id: top1 for tried, top1 in int8.choice.top1.items()},
        "quantiser_images": network.run.config.export.calibration_images,
        "accuracy": {
            "validation_top1": int8.parity.val_top1,
            "test_top1": _top1(int8.path, network.dataset.test, network.preprocess),
            "test_images": len(network.dataset.test),
        },
        "latency": {
            name: (judged.get(name) or _latency(network, name, one.int8, recipe))
            | one.to_json()
            | _fp32_spread(one.fp32)
            for name, one in compared.items()
        },
        "parity": int8.parity.to_json(),
        "size_bytes": int8.path.stat().st_size,
        "fine_tuning": int8.tuning.to_json() if int8.tuning else None,
        "notes": [*([str(int8.tuning)] if int8.tuning else []), *(str(one) for one in compared.values())],
    }


def _fp32_spread(found: Measurement) -> dict[str, Any]:
    """How sure the fp32 latency is that int8 is held against."""
    return {
        "fp32_ci_low_us": found.ci_low_us,
        "fp32_ci_high_us": found.ci_high_us,
        "fp32_repeat_noise": found.repeat_noise,
    }


def _latency(
    network: _Network, device: str, found: Measurement, recipe: QuantiserRecipe | None = None
) -> dict[str, Any]:
    kept = ("p50_us", "p95_us", "ci_low_us", "ci_high_us", "count", "repeat_noise", "doubts")
    said = circumstances(network.run, device)
    graphs = Graphs(PLAIN, recipe) if recipe else Graphs(run_form(network.run))
    said["measured_with"] |= {
        "precision": "int8" if recipe else "fp32",
        "quantiser_recipe": graphs.quantiser_recipe,
        "form": graphs.form,
    }
    if run_devices(network.run)[device].run.transport == "local":
        said["measured_with"]["runtime_version"] = installed_runtime()
    values = {key: value for key, value in dataclasses.asdict(found).items() if key in kept}
    return values | said | {"preprocessing_included": network.options.embed_preprocessing}


def circumstances(run: Run, device: str) -> dict[str, Any]:
    """What a bundle says of the machine that its latencies were measured on; `here` says nothing elsewhere."""
    table = run_table(run, device)
    return {"measured_with": asdict(table.identity), "cpu": table.circumstances["cpu"], "os": table.circumstances["os"]}


def _validation_top1(network: _Network, model: Path) -> float:
    return _top1(model, scoring_split(network.run, network.dataset), network.preprocess)


def _top1(model: Path, split: Split, preprocess: Preprocess) -> float:
    """In parts, since picture files may be more than memory holds."""
    parts = split.batches(PICTURES_AT_ONCE)
    right = sum(onnx_top1(model, part.tensor(), part.labels, preprocess) * len(part) for part in parts)
    return round(right) / len(split)
