"""Export: the chosen network as the stage's bundle, and any network of the space, in any form, beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgenas.deploy.bundle import INT8_MODEL, MODEL, check_free
from edgenas.deploy.manifest import Manifest
from edgenas.errors import ConfigError, RunFolderError
from edgenas.pipeline.bundle_network import BundleOptions
from edgenas.pipeline.bundling import make_bundle, run_precision
from edgenas.pipeline.finetune import is_better
from edgenas.pipeline.front_int8 import deployed_top1, precisions
from edgenas.pipeline.hindsight import write_hindsight
from edgenas.pipeline.lock import locked
from edgenas.pipeline.pool import tell_untaught
from edgenas.pipeline.run import Progress, Run
from edgenas.space.arch import Arch

BUNDLE = "export/bundle"
INT8_KEYS = ("quantiser_recipe", "recipes_tried", "size_bytes", "latency", "fine_tuning", "notes")
CHOSEN, BEST = "chosen", re.compile(r"best:(\d{1,6})")


def run_export(run: Run, progress: Progress) -> None:
    """Prove the chosen network's file equal to the subnet that was scored, and bundle it.

    Raises:
        ParityError: the file computes something else, or int8 is less accurate than allowed; no bundle is written.
        ConfigError: the run has no weights; what it would take is told.
        RunFolderError: a stage before it is missing.
    """
    run.needs("export")
    if run.done("export"):
        return
    verified = run.result("verify")
    options, used = BundleOptions(run_precision(run)), precisions(run)
    manifest = make_bundle(run, run.space.parse(verified["chosen"]), options, run.folder / BUNDLE, progress)
    # The choice is written down: what test pictures say of the others changes nothing now.
    write_hindsight(run, run.folder / verified["model"] if verified["model"] else None, progress)
    chosen: dict[str, Any] = {
        "arch": manifest.arch,
        "val_top1": _val_top1(run, manifest, verified),
        "test_top1": deployed_top1(manifest.accuracy["test_top1"], _int8_top1(manifest, "test"), used),
        "onnx": f"{BUNDLE}/{MODEL if 'fp32' in used else INT8_MODEL}",
        "bundle": BUNDLE,
    }
    result = {"chosen": chosen, "parity": manifest.parity, "costs": manifest.costs}
    run.finish("export", result | ({"int8": _int8_result(manifest)} if manifest.int8 else {}))


def _val_top1(run: Run, manifest: Manifest, verified: dict[str, Any]) -> float:
    """As verified, but where fine-tuning changed it."""
    if run.lacks("finetune") or not is_better(run.result("finetune")):
        return float(verified["val_top1"])
    return deployed_top1(manifest.accuracy["validation_top1"], _int8_top1(manifest, "validation"), precisions(run))


def _int8_top1(manifest: Manifest, split: str) -> float | None:
    return float(manifest.int8["accuracy"][f"{split}_top1"]) if manifest.int8 else None


def _int8_result(manifest: Manifest) -> dict[str, Any]:
    int8 = manifest.int8
    return {
        "onnx": f"{BUNDLE}/{INT8_MODEL}",
        "val_top1": int8["accuracy"]["validation_top1"],
        "test_top1": int8["accuracy"]["test_top1"],
        "max_drop": int8["parity"]["max_drop"],
        "fp32_size_bytes": manifest.size_bytes,
        # Beside which these stand: the chosen network's are those of what is deployed.
        "fp32_val_top1": manifest.accuracy["validation_top1"],
        "fp32_test_top1": manifest.accuracy["test_top1"],
        **{key: int8[key] for key in INT8_KEYS},
    }


def export_bundle(run: Run, which: str, options: BundleOptions, out: Path | None, progress: Progress) -> Path:
    """Write a bundle beside the stage's, which stays as it is. The run folder is locked meanwhile.

    Args:
        run: verified.
        which: `chosen`, `best:K` (the K-th best network within the budgets) or an arch of the run's space.
        options: of the files.
        out: the bundle's folder; by default one in the run folder, named after arch and form. A former bundle there
            is replaced.
        progress: called with what is being done, steps done and in all.

    Returns:
        The bundle's folder.

    Raises:
        ConfigError: there are not so many networks within the budgets.
        SpaceError: no arch of the space; gene and legal values are named.
        RunFolderError: the run is not verified, another process holds it, or `out` holds something else.
        ParityError: see `make_bundle`.
    """
    run.needs("export")
    arch = which_arch(run, which)
    tell_untaught(run, [arch])
    folder = bundle_folder(run, which, options, out)
    stage = (run.folder / BUNDLE).resolve()
    if stage in (folder.resolve(), *folder.resolve().parents):
        raise RunFolderError(f"{folder} is where `edgenas export {run.folder}` writes: choose another --out")
    check_free(folder, replace=True)
    with locked(run.folder):
        try:
            make_bundle(run, arch, options, folder, progress)
        except KeyboardInterrupt as stop:
            stop.add_note("nothing was written; the same command starts this bundle anew")
            raise
    return folder


def bundle_folder(run: Run, which: str, options: BundleOptions, out: Path | None) -> Path:
    """Where `export_bundle` writes.

    Raises:
        ConfigError, SpaceError: see `which_arch`.
    """
    return out or run.folder / "export" / f"{which_arch(run, which).id}-{options}"


def which_arch(run: Run, which: str) -> Arch:
    """The arch that `chosen`, `best:K` or an arch's text names.

    Raises:
        ConfigError: there are not so many networks within the budgets.
        SpaceError: no arch of the space.
    """
    verified = run.result("verify")
    if which == CHOSEN:
        return run.space.parse(verified["chosen"])
    match = BEST.fullmatch(which)
    if match is None:
        return run.space.parse(which)
    ranked = _ranked(verified)
    if not 1 <= int(match[1]) <= len(ranked):
        raise ConfigError(
            f"--arch {which}: {len(ranked)} networks of the front were measured within the budgets and may be chosen, "
            f"so wanted best:1 to best:{len(ranked)}"
        )
    return run.space.parse(ranked[int(match[1]) - 1])


def _ranked(verified: dict[str, Any]) -> list[str]:
    """Archs of the verified front within the budgets, most accurate first, among equals the fastest."""

    def rank(entry: dict[str, Any]) -> tuple[float, ...]:
        # Runs that do not say are from when fp32 alone was deployed.
        top1 = entry.get("deployed_top1", entry["val_top1"])
        return (-top1, *(found["p50_us"] for found in entry["latency"].values()))

    ranked = [entry for entry in sorted(verified["front"], key=rank) if not entry["dropped"]]
    if all("may_be_chosen" in entry for entry in ranked):
        return [entry["arch"] for entry in ranked if entry["may_be_chosen"]]
    # Runs that do not say chose the best: what ranks above was over budget on the half of the rounds that chooses.
    kept = [entry["arch"] for entry in ranked]
    return kept[kept.index(verified["chosen"]) :]
