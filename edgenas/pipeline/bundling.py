"""One network of a run becomes a bundle in the form asked for: exported, proven, quantised, timed, scored."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

from edgenas.deploy.bundle import write_bundle
from edgenas.deploy.manifest import Manifest
from edgenas.pipeline.bundle_files import plain_fp32, proven_fp32, proven_int8, say_parity_images
from edgenas.pipeline.bundle_latency import measure
from edgenas.pipeline.bundle_manifest import make_manifest
from edgenas.pipeline.bundle_network import BundleOptions, Network, verified_network
from edgenas.pipeline.data import check_quantiser_images, deployed_preprocess, run_dataset
from edgenas.pipeline.finetune import tuned_subnet
from edgenas.pipeline.front_int8 import precisions
from edgenas.pipeline.run import Progress, Run
from edgenas.pipeline.subnets import run_subnets
from edgenas.space.arch import Arch


def run_precision(run: Run) -> Literal["fp32", "int8"]:
    """The precision of a run's own bundle: int8 where its config asks for it, or a device runs it."""
    return "int8" if "int8" in {run.config.export.precision, *precisions(run)} else "fp32"


def make_bundle(run: Run, arch: Arch, options: BundleOptions, out: Path, progress: Progress) -> Manifest:
    """Write the bundle of one arch of the run's space; a former bundle in `out` is replaced.

    Raises:
        ParityError: a file computes something else than the subnet, or int8 is less accurate than allowed; nothing is
            written.
        DataError: fewer training pictures than `export.calibration_images`.
        MeasurementError: a file could not be timed.
    """
    own = run_dataset(run)
    tuned = tuned_subnet(run, own, arch)
    dataset = tuned.dataset if tuned else own
    if options.precision == "int8":
        check_quantiser_images(run.config, len(dataset.train))
    subnet = tuned.subnet if tuned else run_subnets(run, own)(arch).cpu()
    # In the run folder, where the next start clears away what a kill leaves.
    with tempfile.TemporaryDirectory(dir=run.folder, prefix=".export.") as folder:
        preprocess, verified = deployed_preprocess(arch, dataset), None if tuned else verified_network(run, arch)
        told = tuned.told if tuned else {}
        network = Network(run, dataset, subnet, preprocess, options, Path(folder), verified, told)
        say_parity_images(network)
        progress("proving the export", 0, 1)
        plain = plain_fp32(network)
        fp32, parity = proven_fp32(network, plain)
        progress("proving the export", 1, 1)
        int8 = proven_int8(network, plain, progress) if options.precision == "int8" else None
        measured = measure(network, {"fp32": fp32} | ({"int8": int8.path} if int8 else {}), progress)
        progress("writing the bundle", 0, 1)
        manifest = make_manifest(network, fp32, parity, int8, measured)
        write_bundle(out, model=fp32, int8_model=int8.path if int8 else None, manifest=manifest, replace=True)
        progress("writing the bundle", 1, 1)
    return manifest
