"""The gate: may a bundle pass? It is proven whole, its accuracy read, and its latency measured, here or elsewhere."""

from __future__ import annotations

import json
import subprocess
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from edgenas.budget import TIME_QUANTITIES, Budget
from edgenas.deploy.bundle import INT8_MODEL, MANIFEST
from edgenas.environment import script_command
from edgenas.errors import ConfigError, MeasurementError, RunFolderError, one_of
from edgenas.files import read_json, shipped
from edgenas.latency.device import Device, Precision, probe
from edgenas.pipeline.run import Progress
from edgenas.profiling.local import LocalTransport
from edgenas.profiling.place import Place
from edgenas.profiling.record import CI_COVERAGE, Measurement
from edgenas.profiling.session import measure_networks
from edgenas.profiling.ssh import SshTransport, probe_at
from edgenas.profiling.transport import Transport

ROUNDS = 40
SETTING = ("threads", "provider", "optimisation_level", "spinning")


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a bundle."""

    check: str
    ok: bool
    said: str


def gate(
    bundle: Path,
    budgets: Sequence[Budget] = (),
    *,
    min_top1: float | None = None,
    device: str | None = None,
    place: Place | None = None,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Check a bundle; latencies are measured anew, in the setting that the bundle states.

    Args:
        bundle: a folder or a zip.
        budgets: of time, or of what the manifest's costs state. A device that a budget names must be `device`.
        min_top1: least test top-1 of the deployed file, a fraction.
        device: which of the bundle's devices is meant; by default the only one.
        place: where it is; by default here.
        rounds: of the timer.
        progress: called with `measuring`, visits done and in all.

    Returns:
        Evidence: ok, the checks, the bundle's digest, the deployed file, what was measured on which machine.

    Raises:
        RunFolderError: there is no bundle.
        ConfigError: the bundle is not for such a device.
        MeasurementError: the timer failed, or the place cannot be reached.
    """
    if not bundle.exists():
        raise RunFolderError(f"{bundle} does not exist: `edgenas export RUN` writes a bundle")
    proven = _proven(bundle)
    checks = [Check(**check) for check in proven["checks"]]
    evidence: dict[str, Any] = {"bundle": str(bundle), "digest": proven.get("digest"), "edgenas_gate": 1}
    if proven["ok"]:
        with tempfile.TemporaryDirectory() as folder:
            where = _unpacked(bundle, Path(folder))
            manifest = read_json(where / MANIFEST, "export again")
            name = _device(manifest, device, budgets)
            model = manifest["deployed"][name]
            evidence |= {"device": name, "model": model}
            checks += _accuracy(manifest, model, min_top1)
            checks += [_on_paper(manifest, b) for b in budgets if b.quantity not in TIME_QUANTITIES]
            timed = [budget for budget in budgets if budget.quantity in TIME_QUANTITIES]
            if timed:
                machine, found = _measured(
                    where / model, _reached(manifest, name, model, place), place, rounds, progress
                )
                checks += [_in_time(found, budget, name) for budget in timed]
                evidence["measured"] = asdict(found)
                evidence["machine"] = machine.model_dump(mode="json")
    return {**evidence, "ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}


def _proven(bundle: Path) -> dict[str, Any]:
    """What the kit's verify.py says; this one, not the bundle's."""
    words = script_command(shipped("export") / "verify.py", str(bundle), "--json")
    done = subprocess.run(
        words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    try:
        return dict(json.loads(done.stdout))
    except ValueError:
        said = " ".join(done.stderr.split())[-300:] or "verify.py said nothing"
        return {"ok": False, "checks": [{"check": MANIFEST, "ok": False, "said": said}]}


def _unpacked(bundle: Path, folder: Path) -> Path:
    """The bundle as a folder; a zip's names were found harmless."""
    if bundle.is_dir():
        return bundle
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    return next(folder.rglob(MANIFEST)).parent


def _device(manifest: Mapping[str, Any], wanted: str | None, budgets: Sequence[Budget]) -> str:
    known = list(manifest["deployed"])
    named = {name for name in (wanted, *(budget.device for budget in budgets)) if name}
    if len(named) > 1:
        raise ConfigError(f"a gate measures one device, got {', '.join(sorted(named))}: call it once for each")
    if not named and len(known) > 1:
        raise ConfigError(f"the bundle is for several devices: say which with --device; {one_of('', known)}")
    name = next(iter(named), known[0])
    if name not in known:
        raise ConfigError(f"the bundle is for no device {name!r}; {one_of(name, known)}")
    return name


def _accuracy(manifest: Mapping[str, Any], model: str, min_top1: float | None) -> list[Check]:
    if min_top1 is None:
        return []
    known = (manifest["int8"] if model == INT8_MODEL else manifest)["accuracy"]
    said = f"{model} reached {known['test_top1']:.2%} of {known['test_images']:,} test images, wanted {min_top1:.2%}"
    return [Check("top-1", known["test_top1"] >= min_top1, said)]


def _on_paper(manifest: Mapping[str, Any], budget: Budget) -> Check:
    value = manifest["costs"][budget.quantity]
    said = f"{budget.quantity.replace('_', ' ')}: {value:,}, the budget is {budget.limit:,.0f}"
    return Check(str(budget), value <= budget.limit, said)


def _in_time(found: Measurement, budget: Budget, device: str) -> Check:
    value = found.p95_us if budget.quantity == "p95" else found.p50_us
    said = (
        f"{value / 1e3:.3f} ms {budget.quantity} on {device} (p50 {found.ci_low_us / 1e3:.3f} to "
        f"{found.ci_high_us / 1e3:.3f}, {100 * CI_COVERAGE:.0f} % interval), the budget is {budget.limit / 1e3:g} ms"
    )
    return Check(str(budget), value <= budget.limit, "; doubt: ".join([said, *found.doubts]))


def _reached(manifest: Mapping[str, Any], name: str, model: str, place: Place | None) -> Device:
    """The machine at the place, run as the bundle's latency was measured."""
    known = manifest["int8"] if model == INT8_MODEL else manifest
    setting = known["latency"][name]["measured_with"]
    precision: Precision = "int8" if model == INT8_MODEL else "fp32"
    assert precision in get_args(Precision)
    threads = setting["threads"]
    device = probe_at(place).device(name, "ssh", threads, precision) if place else probe(name, threads, precision)
    run = device.run.model_validate(device.run.model_dump() | {key: setting[key] for key in SETTING})
    return device.model_copy(update={"run": run})


def _measured(
    model: Path, device: Device, place: Place | None, rounds: int, progress: Progress | None
) -> tuple[Device, Measurement]:
    transport: Transport = SshTransport(place) if place else LocalTransport()
    with tempfile.TemporaryDirectory() as folder:
        # The timer keeps its rows beside what it times, and a bundle stays as it is.
        copy = Path(folder) / model.name
        copy.write_bytes(model.read_bytes())
        found = measure_networks(
            {model.name: copy},
            device,
            rounds=rounds,
            seed=0,
            out=Path(folder) / "rows.jsonl",
            progress=progress,
            transport=transport,
        )
    return device, found[model.name]


def refusal(evidence: Mapping[str, Any]) -> MeasurementError | None:
    """What speaks against a bundle, as an error; None where nothing does."""
    off = [check["said"] for check in evidence["checks"] if not check["ok"]]
    return MeasurementError(f"{evidence['bundle']} does not pass: {'; '.join(off)}") if off else None
