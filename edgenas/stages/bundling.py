"""Make a bundle of one network of a run: export, prove, quantise, time and score its files."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgenas.deploy.bundle.bundle import write_bundle
from edgenas.deploy.bundle.manifest import Manifest
from edgenas.deploy.onnx.parity import Parity
from edgenas.progress import Progress
from edgenas.records.record import Verdict
from edgenas.runs.images import check_quantiser_images
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.bundle_files import Int8Export, plain_fp32, proven_fp32, proven_int8, warn_if_few_images
from edgenas.stages.bundle_latency import Timed, time_files, verdict
from edgenas.stages.bundle_manifest import make_manifest
from edgenas.stages.bundle_network import BundleOptions, Network, verified_network
from edgenas.stages.finetune import tuned_subnet
from edgenas.stages.scoring import run_subnets


def run_precision(run: Run) -> Literal["fp32", "int8"]:
    """Return the precision of a run's own bundle: int8 where its config asks for it, or a device runs it."""
    return "int8" if "int8" in {run.config.export.precision, *run.devices.precisions} else "fp32"


@dataclass(frozen=True)
class Prepared:
    """A network's files, proven and timed, before a bundle is written of them.

    Attributes:
        network: which.
        fp32: the file to be delivered.
        parity: parity of that file.
        int8: the int8 file beside it, where one was asked for.
        timed: sessions on every measured device.
    """

    network: Network
    fp32: Path
    parity: Parity
    int8: Int8Export | None
    timed: Timed

    @property
    def verdict(self) -> Verdict | None:
        """The worst verdict on the deployed file over all devices; None where there is no latency budget."""
        return verdict(self.network, self.timed)


def prepare(run: Run, arch: Arch, options: BundleOptions, folder: Path, rows: Path, progress: Progress) -> Prepared:
    """Export one network with the weights that ship, prove its files, and time them in new processes.

    Args:
        run: verified.
        arch: architecture of the run's space.
        options: options of the files.
        folder: files are written there.
        rows: folder of the timer's rows; files that were timed before are not timed again.
        progress: called with the current step, steps done and in all.

    Raises:
        ParityError: a file computes something else than the subnet, or int8 is less accurate than allowed.
        DataError: fewer training images than `export.calibration_images`.
        MeasurementError: a file could not be timed.
    """
    tuned = tuned_subnet(run, arch)
    images = tuned.images if tuned else run.images
    if options.precision == "int8":
        check_quantiser_images(run.config, len(images.dataset.train))
    subnet = tuned.subnet if tuned else run_subnets(run)(arch).cpu()
    preprocess, verified = images.preprocess(arch), None if tuned else verified_network(run, arch)
    fine_tuning = tuned.record.as_manifest() if tuned else {}
    network = Network(run, images, subnet, preprocess, options, folder, verified, fine_tuning)
    warn_if_few_images(network)
    progress("proving the export", 0, 1)
    plain = plain_fp32(network)
    fp32, parity = proven_fp32(network, plain)
    progress("proving the export", 1, 1)
    int8 = proven_int8(network, plain, progress) if options.precision == "int8" else None
    timed = time_files(network, {"fp32": fp32} | ({"int8": int8.path} if int8 else {}), rows, progress)
    return Prepared(network, fp32, parity, int8, timed)


def write(prepared: Prepared, out: Path, progress: Progress) -> Manifest:
    """Write the bundle of prepared files; test images are looked at here. A former bundle in `out` is replaced."""
    int8 = prepared.int8
    progress("writing the bundle", 0, 1)
    manifest = make_manifest(prepared.network, prepared.fp32, prepared.parity, int8, prepared.timed)
    write_bundle(out, model=prepared.fp32, int8_model=int8.path if int8 else None, manifest=manifest, replace=True)
    progress("writing the bundle", 1, 1)
    return manifest


def make_bundle(run: Run, arch: Arch, options: BundleOptions, out: Path, progress: Progress) -> Manifest:
    """Write the bundle of one network of the run's space; a former bundle in `out` is replaced.

    Raises:
        ParityError, DataError, MeasurementError: see `prepare`; nothing is written.
    """
    # In the run folder, where the next start clears away what a kill leaves.
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".export.") as folder:
        return write(prepare(run, arch, options, Path(folder), Path(folder), progress), out, progress)
