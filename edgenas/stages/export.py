"""Export: the chosen network as the stage's bundle, and any network of the space, with any options, beside it."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

from edgenas.deploy.bundle.bundle import INT8_MODEL, MODEL, check_free
from edgenas.deploy.bundle.manifest import Int8Facts, Manifest
from edgenas.errors import ConfigError, RunFolderError
from edgenas.progress import Progress
from edgenas.records.export import ExportRecord, Int8Latency, ShippedInt8, ShippedNetwork
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.verify import MeasuredNetwork, VerifyRecord
from edgenas.runs.lock import locked
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.front.front_int8 import deployed_top1
from edgenas.stages.shipping.bundle_network import BundleOptions, verified_network
from edgenas.stages.shipping.bundling import make_bundle, run_precision, write
from edgenas.stages.shipping.hindsight import write_hindsight
from edgenas.stages.shipping.shipping import ship
from edgenas.stages.weights.inherited_weights import inherited_note, shipping_subnet
from edgenas.stages.weights.training_archs import warn_if_untrained
from edgenas.stages.weights.tuner import finetuned

LOGGER = logging.getLogger(__name__)
BUNDLE = "export/bundle"
CHOSEN, BEST = "chosen", re.compile(r"best:(\d{1,6})")


def export_chosen(run: Run, verified: VerifyRecord, progress: Progress) -> ExportRecord:
    """Ship the first candidate whose file is within every budget, see `shipping.ship`, and bundle it.

    Raises:
        InfeasibleError: the files of all candidates that were tried are over a budget; no bundle is written.
        ParityError: the file computes something else, or int8 is less accurate than allowed; no bundle is written.
        RunFolderError: a stage before it is missing.
    """
    # In the run folder, where the next start clears away what a kill leaves.
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".export.") as folder:
        options = BundleOptions(run_precision(run.config.export, run.devices))
        shipped = ship(run, verified, options, Path(folder), progress)
        manifest = write(run, shipped.prepared, run.folder / BUNDLE, progress)
    network = verified_network(verified, manifest.arch, run.folder)
    # The choice is made: test images of the other networks cannot change it any more.
    write_hindsight(run, manifest.arch, network.model if network else None, progress)
    return ExportRecord(
        chosen=_chosen(manifest, run.devices.precisions),
        attempts=shipped.attempts,
        notes=shipped.notes,
        costs=manifest.costs,
        gain=manifest.halving.gain if manifest.halving else None,
        int8=_shipped_int8(manifest, manifest.int8) if manifest.int8 else None,
    )


def _chosen(manifest: Manifest, precisions: Collection[str]) -> ShippedNetwork:
    """Return the network that ships, with the accuracy of the deployed file; of several, the lower one."""
    fp32, int8 = manifest.accuracy, manifest.int8.accuracy if manifest.int8 else None
    files = {"fp32": fp32} | ({"int8": int8} if int8 else {})
    deployed = min((files[precision] for precision in precisions), key=lambda accuracy: accuracy.test_top1)
    by_class = zip(manifest.classes, deployed.test_top1_by_class, strict=True)
    return ShippedNetwork(
        arch=manifest.arch,
        val_top1=deployed_top1(fp32.validation_top1, int8.validation_top1 if int8 else None, precisions),
        test_top1=deployed.test_top1,
        test_macro_top1=deployed.test_macro_top1,
        test_class_top1={name: rate for name, rate in by_class if rate is not None},
        latency=manifest.deployed_latency,
        verdict=manifest.verdict,
        onnx=f"{BUNDLE}/{MODEL if 'fp32' in precisions else INT8_MODEL}",
        bundle=BUNDLE,
    )


def _shipped_int8(manifest: Manifest, int8: Int8Facts) -> ShippedInt8:
    return ShippedInt8(
        onnx=f"{BUNDLE}/{INT8_MODEL}",
        val_top1=int8.accuracy.validation_top1,
        test_top1=int8.accuracy.test_top1,
        # The chosen network's own accuracies are those of the deployed file.
        fp32_val_top1=manifest.accuracy.validation_top1,
        fp32_test_top1=manifest.accuracy.test_top1,
        max_drop=int8.parity.max_drop,
        quantiser_recipe=int8.quantiser_recipe,
        recipes_tried=int8.recipes_tried,
        size_bytes=int8.size_bytes,
        fp32_size_bytes=manifest.size_bytes,
        latency={device: Int8Latency.part_of(latency) for device, latency in int8.latency.items()},
        fine_tuning=int8.fine_tuning,
        notes=int8.notes,
    )


def export_bundle(run: Run, which: str, options: BundleOptions, out: Path | None, progress: Progress) -> Path:
    """Write a bundle beside the stage's, which stays as it is. The run folder is locked meanwhile.

    Args:
        run: verified.
        which: `chosen`, `best:K` (the K-th best network within the budgets) or an arch of the run's space
            or of its shelf.
        options: options of the files.
        out: the bundle's folder; by default one in the run folder, named after architecture and options. A former
            bundle there is replaced.
        progress: called with what is being done, steps done and in all.

    Returns:
        The bundle's folder.

    Raises:
        ConfigError: there are not so many networks within the budgets.
        SpaceError: no arch of the space or shelf; gene and legal values are named.
        RunFolderError: the run is not verified, or for a network of the shelf not fine-tuned, another process holds
            it, or `out` holds something else.
        ParityError: see `make_bundle`.
    """
    run.require("export")
    arch = which_arch(run, which)
    if arch.network:
        run.require("finetune")
        # Its bundle needs the finished stage, which would be missed only after minutes of training.
        run.result(FinetuneRecord)
    warn_if_untrained(run, [arch])
    # State the accuracy drop of a network that keeps its inherited weights in a run that fine-tunes.
    if run.done("finetune") and shipping_subnet(run, arch) is None and (note := inherited_note(run, [arch])):
        LOGGER.warning("note: %s", note)
    folder = bundle_folder(run.folder, arch, options, out)
    stage = (run.folder / BUNDLE).resolve()
    if stage in (folder.resolve(), *folder.resolve().parents):
        raise RunFolderError(f"{folder} is where `edgenas export {run.folder}` writes: choose another --out")
    check_free(folder, replace=True)
    with locked(run.folder):
        try:
            if arch.network:
                # Its classifier is trained by fine-tuning alone; a network that is tuned already is not tuned again.
                finetuned(run, arch, progress)
            make_bundle(run, arch, options, folder, progress)
        except KeyboardInterrupt as stop:
            stop.add_note("nothing was written; the same command starts this bundle from scratch")
            raise
    return folder


def bundle_folder(folder: Path, arch: Arch, options: BundleOptions, out: Path | None) -> Path:
    """Return the folder of a bundle: `out`, or else one in the run folder."""
    return out or folder / "export" / f"{arch.file_name}-{options}"


def which_arch(run: Run, which: str) -> Arch:
    """Return the architecture that `chosen`, `best:K` or an architecture's text names.

    Raises:
        ConfigError: there are not so many networks within the budgets.
        SpaceError: no arch of the space.
    """
    if which == CHOSEN:
        return run.chosen
    match = BEST.fullmatch(which)
    if match is None:
        return run.spaces.parse(which)
    ranked = _ranked(run.result(VerifyRecord))
    if not 1 <= int(match[1]) <= len(ranked):
        raise ConfigError(
            f"--arch {which}: {len(ranked)} networks of the front were measured within the budgets, "
            f"so expected best:1 to best:{len(ranked)}"
        )
    return ranked[int(match[1]) - 1]


def _ranked(verified: VerifyRecord) -> list[Arch]:
    """Return the architectures of the candidates, most accurate first, the fastest of equals."""

    def rank(network: MeasuredNetwork) -> tuple[float, ...]:
        # A device that is known by a table alone is not measured.
        times = (measured.p50_us or measured.predicted_us for measured in network.latency.values())
        return (-network.deployed_top1, *times)

    candidates = [network for network in verified.front if network.arch in verified.candidates]
    within = [network for network in candidates if network.eligible]
    return [network.arch for network in sorted(within or candidates, key=rank)]
