"""Make a bundle of one network of a run: export, prove, quantise, time and score its files."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from edgenas.config.sections import ExportConfig
from edgenas.deploy.bundle.bundle import write_bundle
from edgenas.deploy.bundle.manifest import Manifest
from edgenas.errors import ConfigError
from edgenas.progress import Progress
from edgenas.records.bundle import SearchFacts
from edgenas.records.finetune import FinetuneSummary
from edgenas.records.folder import StageCost
from edgenas.records.search import SearchRecord
from edgenas.records.train import TrainRecord
from edgenas.records.verify import VerifyRecord
from edgenas.runs.devices import RunDevices
from edgenas.runs.images import check_quantiser_images
from edgenas.runs.run import Run
from edgenas.runs.stage_costs import spent
from edgenas.space.arch import Arch
from edgenas.stages.devices.device_latencies import read_latencies
from edgenas.stages.devices.judged_latency import judged_latency
from edgenas.stages.devices.measuring import session_timer
from edgenas.stages.shipping.bundle_files import Prepared, plain_fp32, proven_fp32, proven_int8, warn_if_few_images
from edgenas.stages.shipping.bundle_latency import time_files
from edgenas.stages.shipping.bundle_manifest import make_manifest
from edgenas.stages.shipping.bundle_network import BundleOptions, Network, verified_network
from edgenas.stages.tuning.shelf_gain import halving_summary, shelf_gain
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.weights.tuned_network import tuned_subnet
from edgenas.training.materialise import preprocess_of


def run_precision(config: ExportConfig, devices: RunDevices) -> Literal["fp32", "int8"]:
    """Return the precision of a run's own bundle: int8 where its config asks for it, or a device runs it."""
    return "int8" if "int8" in {config.precision, *devices.precisions} else "fp32"


def prepare(run: Run, arch: Arch, options: BundleOptions, folder: Path, rows: Path, progress: Progress) -> Prepared:
    """Export one network with the weights that ship, prove its files, and time them in new processes.

    Args:
        run: verified.
        arch: architecture of the run's space or of its shelf.
        options: options of the files.
        folder: files are written there.
        rows: folder of the timer's rows; files that were timed before are not timed again.
        progress: called with the current step, steps done and in all.

    Raises:
        ConfigError: the network is of the shelf and not fine-tuned.
        ParityError: a file computes something else than the subnet, or int8 is less accurate than allowed.
        DataError: fewer training images than `export.calibration_images`.
        MeasurementError: a file could not be timed.
    """
    network = _network(run, arch, options, folder)
    warn_if_few_images(run.config.export.parity_images, len(network.images.dataset.validation))
    progress("proving the export", 0, 1)
    plain = plain_fp32(network)
    fp32, parity = proven_fp32(network, plain)
    progress("proving the export", 1, 1)
    int8 = proven_int8(network, plain, progress) if options.precision == "int8" else None
    models = {"fp32": fp32} | ({"int8": int8.path} if int8 else {})
    budgets, timed, judged = run.result(SearchRecord).budgets, {}, {}
    for device in run.devices.measured:
        deployed = network.deployed_precision(device)
        session = time_files(session_timer(run, device, "timing the export", progress), models, deployed, rows)
        limits = [budget for budget in budgets if budget.device == device]
        timed[device], judged[device] = session, judged_latency(session.measured[deployed], session, limits)
    return Prepared(network, fp32, parity, int8, timed, judged)


def _network(run: Run, arch: Arch, options: BundleOptions, folder: Path) -> Network:
    """Return the network with the weights that ship.

    Raises:
        ConfigError: it is of the shelf and not fine-tuned, so that its classifier is random.
    """
    tuned = tuned_subnet(run, arch)
    if tuned is None and arch.network:
        raise ConfigError(f"{run.folder}: {arch} is not fine-tuned, so its new classifier has random weights")
    images = tuned.images if tuned else run.images
    if options.precision == "int8":
        check_quantiser_images(run.config, len(images.dataset.train))
    subnet = tuned.subnet if tuned else run_subnets(run)(arch).cpu()
    return Network(
        config=run.config,
        space=run.spaces.of(arch).with_classes(images.dataset.num_classes),
        devices=run.devices,
        variant=run.graph_variant,
        images=images,
        subnet=subnet,
        preprocess=replace(preprocess_of(subnet), presize=images.dataset.presize),
        options=options,
        folder=folder,
        verified=None if tuned else verified_network(run.result(VerifyRecord), arch, run.folder),
        fine_tuning=FinetuneSummary.part_of(tuned.record) if tuned else None,
        init=run.init_of(arch),
        halving=halving_summary(run, None) if tuned else None,
    )


def write(run: Run, prepared: Prepared, out: Path, progress: Progress) -> Manifest:
    """Write the bundle of prepared files; test images are looked at here. A former bundle in `out` is replaced."""
    int8 = prepared.int8
    progress("writing the bundle", 0, 1)
    search, trained, verified = run.result(SearchRecord), run.result(TrainRecord), run.result(VerifyRecord)
    found = _search_facts(search, trained, verified, spent(run.folder))
    manifest = make_manifest(prepared, read_latencies(run), found)
    if manifest.halving is not None:
        # The choice is made: test images cannot change it any more.
        compared = manifest.halving.model_copy(update={"gain": shelf_gain(run, manifest.arch)})
        manifest = manifest.model_copy(update={"halving": compared})
    write_bundle(out, model=prepared.fp32, int8_model=int8.path if int8 else None, manifest=manifest, replace=True)
    progress("writing the bundle", 1, 1)
    return manifest


def _search_facts(
    search: SearchRecord, trained: TrainRecord, verified: VerifyRecord, costs: dict[str, StageCost]
) -> SearchFacts:
    return SearchFacts(
        strategy=search.strategy,
        evaluations=search.evaluations,
        search_seconds=search.seconds,
        train_seconds=trained.train_seconds,
        front_networks=len(verified.front),
        budgets=search.budgets,
        spent=costs,
    )


def make_bundle(run: Run, arch: Arch, options: BundleOptions, out: Path, progress: Progress) -> Manifest:
    """Write the bundle of one network of the run's space or shelf; a former bundle in `out` is replaced.

    Raises:
        ConfigError, ParityError, DataError, MeasurementError: see `prepare`; nothing is written.
    """
    # In the run folder, where the next start clears away what a kill leaves.
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".export.") as folder:
        return write(run, prepare(run, arch, options, Path(folder), Path(folder), progress), out, progress)
