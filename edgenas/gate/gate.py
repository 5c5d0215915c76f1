"""The gate: whether a bundle may pass. It is proven whole; accuracy, sizes and latency are compared with limits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgenas.budget import Budget
from edgenas.deploy.bundle.bundle import INT8_MODEL, MANIFEST
from edgenas.deploy.bundle.manifest_values import Count, ManifestError, StatedAccuracy, stated
from edgenas.gate.gate_bundle import chosen_device, deployed_model, prove, read_manifest, take_model
from edgenas.gate.gate_device import reached_device
from edgenas.gate.gate_images import NAMED, MeasuredTop1, measured_top1
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import discount, measure_networks
from edgenas.profiling.this_machine import differences
from edgenas.profiling.timer_rows import printable
from edgenas.profiling.transport import Transport
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports
from edgenas.profiling.verdict import disturbed, judge_measured
from edgenas.progress import Progress
from edgenas.quantities import WEIGHT_BYTES
from edgenas.records.record import Verdict
from edgenas.training.data.listing import causes_text

ROUNDS = 40
Outcome = Literal["pass", "not significant", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that was asked of a bundle; `verdict` where it is a latency."""

    check: str
    ok: bool
    message: str
    verdict: Verdict | None = None


@dataclass(frozen=True)
class Asked:
    """The requirements on a bundle.

    Attributes:
        budgets: on latency, or on costs that the manifest states. A device that a budget names must be `device`.
        min_top1: least top-1 of the deployed file, a fraction.
        images: folder of labelled images that top-1 is measured on; without it the manifest's is quoted.
        device: which of the bundle's devices is meant; by default the only one.
        reach: transports; by default the mounted ones.
        rounds: of the timer.
    """

    budgets: Sequence[Budget] = ()
    min_top1: float | None = None
    images: Path | None = None
    device: str | None = None
    reach: TransportRegistry = field(default_factory=mounted_transports)
    rounds: int = ROUNDS

    @property
    def timed(self) -> list[Budget]:
        """The budgets of time."""
        return [budget for budget in self.budgets if budget.quantity.per_device]


def gate(
    bundle: Path, asked: Asked | None = None, *, digest: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Check a bundle; latencies are measured again, as the device that the bundle states runs its file.

    Args:
        bundle: a folder or a zip.
        asked: limits, and where to measure.
        digest: the manifest's, or its first 12 digits or more: any other bundle fails.
        progress: called with what is being done, steps done and in all.

    Returns:
        Evidence: ok, the checks, the bundle's digest, the deployed file, what was measured on which machine.

    Raises:
        RunFolderError: there is no bundle, or it was changed meanwhile.
        ConfigError: the bundle is not for such a device, or this machine is not it.
        DataError: the labelled images are not of the bundle's classes.
        MeasurementError: the timer failed, or the place cannot be reached.
        Packed: the kit was written, and has to be taken to the device.
    """
    asked = asked or Asked()
    proven = prove(bundle, digest)
    evidence: dict[str, Any] = {"bundle": str(bundle), "digest": proven.get("digest"), "edgenas_gate": 1}
    checks = [Check(**check) for check in proven["checks"]]
    if proven["ok"]:
        try:
            with tempfile.TemporaryDirectory() as folder:
                _judge(bundle, proven["digest"], asked, Path(folder), checks, evidence, progress)
        except ManifestError as error:
            checks.append(Check(MANIFEST, False, str(error)))
    return {**evidence, "ok": all(check.ok for check in checks), "checks": [asdict(check) for check in checks]}


def _judge(
    bundle: Path,
    digest: str,
    asked: Asked,
    folder: Path,
    checks: list[Check],
    evidence: dict[str, Any],
    progress: Progress | None,
) -> None:
    """Check a bundle that is whole, and add to checks and evidence."""
    manifest = read_manifest(bundle, digest)
    name = chosen_device(manifest, asked.device, asked.budgets)
    if name is not None:
        _refuse_unmeasured(asked.timed, name)
    model = deployed_model(manifest, name)
    evidence |= {"device": name, "model": model}
    reached = reached_device(manifest, name, asked.reach) if asked.timed and name else None
    path = take_model(bundle, manifest, model, folder)
    if asked.images is not None:
        measured = measured_top1(asked.images, manifest, path, progress)
        checks.append(_top1_of(measured, model, asked.min_top1, _elsewhere(manifest, name)))
        evidence["top1"] = {**asdict(measured), "top1": measured.top1}
    elif asked.min_top1 is not None:
        checks.append(_stated_top1(manifest, model, asked.min_top1))
    checks += [_on_paper(manifest, model, budget) for budget in asked.budgets if not budget.quantity.per_device]
    if reached:
        found = _measured(path, *reached, asked.rounds, progress)
        checks += [_in_time(found, budget) for budget in asked.timed]
        evidence |= {"measured": asdict(found.measurement), "repeated": found.repeated}
        evidence["machine"] = found.device.model_dump(mode="json")


def _refuse_unmeasured(budgets: Sequence[Budget], device: str) -> None:
    for budget in budgets:
        budget.on([device])


def _elsewhere(manifest: Mapping[str, Any], name: str | None) -> str:
    """Return how the bundle's device differs from this machine, where a manifest says what the device is."""
    if name is None or name not in manifest.get("devices", {}):
        return ""
    return differences(stated(manifest, Device, "devices", name))


def _stated_top1(manifest: Mapping[str, Any], model: str, least: float) -> Check:
    known = stated(manifest, StatedAccuracy, *(["int8"] if model == INT8_MODEL else []), "accuracy")
    message = (
        f"{model} reached {known.test_top1:.2%} of {known.test_images:,} test images, as stated by the manifest; "
        f"expected at least {least:.2%}"
    )
    return Check("top-1", known.test_top1 >= least, message)


def _top1_of(measured: MeasuredTop1, model: str, least: float | None, elsewhere: str) -> Check:
    message = (
        f"{model} reached {measured.top1:.2%} of {measured.images:,} images, measured on this machine (95 % interval "
        f"{measured.ci_low:.2%} to {measured.ci_high:.2%})"
    )
    if least is not None:
        message += f"; expected at least {least:.2%}"
    if measured.classes_without_images:
        message += f"; without images: {_listed(measured.classes_without_images)}"
    if measured.left_out:
        message += f"; left out: {causes_text(measured.left_out)}"
    if elsewhere and model == INT8_MODEL:
        message += f"; int8 may compute something else on the device ({elsewhere})"
    return Check("top-1", least is None or measured.top1 >= least, message)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _on_paper(manifest: Mapping[str, Any], model: str, budget: Budget) -> Check:
    """Compare a budget with the manifest's costs: weight bytes with those of the deployed file."""
    of_file = budget.quantity == WEIGHT_BYTES
    section = ["int8"] if of_file and model == INT8_MODEL else []
    value = stated(manifest, Count, *section, "costs", budget.quantity.name)
    subject = f"{budget.quantity.label} of {model}" if of_file else budget.quantity.label
    text = budget.quantity.unit.text
    return Check(str(budget), value <= budget.limit, f"{subject}: {text(value)}, the budget is {text(budget.limit)}")


@dataclass(frozen=True)
class Measured:
    """The measurement of the deployed file in one session.

    Attributes:
        device: as it was reached.
        measurement: over all processes of the session.
        repeated: whether an earlier session was disturbed, and discarded.
    """

    device: Device
    measurement: Measurement
    repeated: bool

    @property
    def remarks(self) -> list[str]:
        """Warnings, as sentences."""
        again = ["the first session was disturbed in most processes, and was repeated"] if self.repeated else []
        return [*again, *(f"warning: {printable(warning)}" for warning in self.measurement.warnings)]


def _in_time(found: Measured, budget: Budget) -> Check:
    unit, judged = budget.quantity.unit, judge_measured(found.measurement, budget)
    value = f"{unit.format(judged.value_us)} {budget.quantity.label} on {found.device.name}"
    upper = "unknown" if judged.upper_us is None else unit.format(judged.upper_us)
    limit = unit.text(budget.limit)
    message = f"{value}, upper confidence limit {upper}, the budget is {limit}: {judged.verdict}"
    return Check(str(budget), judged.verdict == "within", "; ".join([message, *found.remarks]), judged.verdict)


def _measured(model: Path, device: Device, transport: Transport, rounds: int, progress: Progress | None) -> Measured:
    """Time a file in one session, and once more where most of its processes were disturbed."""
    out = model.parent / "rows.jsonl"

    def measure() -> Measurement:
        found = measure_networks(
            {model.name: model}, device, rounds=rounds, seed=0, out=out, progress=progress, transport=transport
        )
        return found[model.name]

    first = measure()
    # What was brought back from a device would be read again as it is.
    if transport.carried or not disturbed({model.name: first}):
        return Measured(device, first, repeated=False)
    discount(out, device)
    return Measured(device, measure(), repeated=True)


def outcome(evidence: Mapping[str, Any]) -> Outcome:
    """Return whether a bundle passes, by the evidence of `gate`.

    It is `not significant` where nothing fails but latencies whose p50 is within the limit and whose upper confidence
    limit is not.
    """
    failed = [check for check in evidence["checks"] if not check["ok"]]
    if not failed:
        return "pass"
    return "not significant" if all(check.get("verdict") == "not significant" for check in failed) else "fail"


def verdict_line(evidence: Mapping[str, Any]) -> str:
    """Return the result in one line."""
    checks, bundle = evidence["checks"], evidence["bundle"]
    failed = [check["check"] for check in checks if not check["ok"]]
    named = f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}"
    lines = {
        "pass": f"PASS  {bundle}: all {len(checks)} checks passed",
        "not significant": f"NOT SIGNIFICANT  {bundle}: within budget, but not beyond the noise of measuring: "
        f"{', '.join(failed)}: more --rounds or a quiet device may decide it",
        "fail": f"FAIL  {bundle}: {named}",
    }
    return lines[outcome(evidence)]
