"""The gate: whether a bundle may pass. It is proven whole; accuracy, sizes and latency are compared with limits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgenas.budget import Budget
from edgenas.deploy.bundle.bundle import INT8_MODEL, MANIFEST
from edgenas.deploy.bundle.manifest_values import BundleAccuracy, Count, ManifestError, stated
from edgenas.gate.evidence import Check, Evidence
from edgenas.gate.gate_bundle import chosen_device, deployed_model, prove, read_manifest, take_model
from edgenas.gate.gate_device import TimedFile, reached_device, time_file
from edgenas.gate.gate_images import NAMED, MeasuredTop1, measured_top1
from edgenas.latency.device import Device
from edgenas.profiling.this_machine import differences
from edgenas.profiling.transport_registry import TransportRegistry, mounted_transports
from edgenas.profiling.verdict import judge_measured
from edgenas.progress import Progress
from edgenas.quantities import WEIGHT_BYTES
from edgenas.training.data.listing import causes_text

ROUNDS = 40


@dataclass(frozen=True)
class Requirements:
    """The requirements on a bundle.

    Attributes:
        budgets: limits of latency, or of costs that the manifest states. A device that one names must be `device`.
        min_top1: least top-1 of the deployed file, a fraction.
        images: folder of labelled images that top-1 is measured on; without it the manifest's is quoted.
        device: one of the bundle's devices; by default the only one.
        reach: transports; by default the mounted ones.
        rounds: repetitions of the file.
    """

    budgets: Sequence[Budget] = ()
    min_top1: float | None = None
    images: Path | None = None
    device: str | None = None
    reach: TransportRegistry = field(default_factory=mounted_transports)
    rounds: int = ROUNDS

    @property
    def measured(self) -> list[Budget]:
        """The budgets of quantities that are measured on the device."""
        return [budget for budget in self.budgets if budget.quantity.per_device]

    @property
    def computed(self) -> list[Budget]:
        """The budgets of costs that the manifest states."""
        return [budget for budget in self.budgets if not budget.quantity.per_device]


def gate(
    bundle: Path,
    requirements: Requirements | None = None,
    *,
    digest: str | None = None,
    progress: Progress | None = None,
) -> Evidence:
    """Check a bundle; latencies are measured again, as the device that the bundle states runs its file.

    Args:
        bundle: a folder or a zip.
        requirements: limits, and where to measure.
        digest: expected digest of the manifest, or its first 12 digits or more: any other bundle fails.
        progress: called with what is being done, steps done and in all.

    Raises:
        RunFolderError: there is no bundle, or it was changed meanwhile.
        ConfigError: the bundle is not for such a device, or this machine is not it.
        DataError: the labelled images are not of the bundle's classes.
        MeasurementError: the timer failed, or the device cannot be reached.
        Packed: the kit was written, and has to be taken to the device.
    """
    proven = prove(bundle, digest)
    evidence = Evidence(bundle, proven.get("digest"), [Check(**check) for check in proven["checks"]])
    if proven["ok"]:
        try:
            with tempfile.TemporaryDirectory() as folder:
                _check(bundle, proven["digest"], requirements or Requirements(), Path(folder), evidence, progress)
        except ManifestError as error:
            evidence.checks.append(Check(MANIFEST, False, str(error)))
    return evidence


def _check(
    bundle: Path,
    digest: str,
    requirements: Requirements,
    folder: Path,
    evidence: Evidence,
    progress: Progress | None,
) -> None:
    """Check a bundle that is whole, and add to the evidence."""
    manifest = read_manifest(bundle, digest)
    device = chosen_device(manifest, requirements.device, requirements.budgets)
    if device is not None:
        _refuse_unmeasured(requirements.measured, device)
    model = deployed_model(manifest, device)
    evidence.device, evidence.model = device, model
    reached = reached_device(manifest, device, requirements.reach) if requirements.measured and device else None
    path = take_model(bundle, manifest, model, folder)
    if requirements.images is not None:
        evidence.top1 = measured_top1(requirements.images, manifest, path, progress)
        different = _differences(manifest, device)
        evidence.checks.append(_measured_top1_check(evidence.top1, model, requirements.min_top1, different))
    elif requirements.min_top1 is not None:
        evidence.checks.append(_stated_top1_check(manifest, model, requirements.min_top1))
    evidence.checks += [_cost_check(manifest, model, budget) for budget in requirements.computed]
    if reached:
        evidence.timed = time_file(path, *reached, requirements.rounds, progress)
        evidence.checks += [_latency_check(evidence.timed, budget) for budget in requirements.measured]


def _refuse_unmeasured(budgets: Sequence[Budget], device: str) -> None:
    for budget in budgets:
        budget.on([device])


def _differences(manifest: Mapping[str, Any], device: str | None) -> str:
    """Return how a device differs from this machine; empty where the manifest does not describe it."""
    if device is None or device not in manifest.get("devices", {}):
        return ""
    return differences(stated(manifest, Device, "devices", device))


def _stated_top1_check(manifest: Mapping[str, Any], model: str, least: float) -> Check:
    accuracy = stated(manifest, BundleAccuracy, *_section(model), "accuracy")
    message = (
        f"{model} reached {accuracy.test_top1:.2%} of {accuracy.test_images:,} test images, as stated by the manifest; "
        f"expected at least {least:.2%}"
    )
    return Check("top-1", accuracy.test_top1 >= least, message)


def _section(model: str) -> list[str]:
    """Return the keys of the manifest's section on a file."""
    return ["int8"] if model == INT8_MODEL else []


def _measured_top1_check(measured: MeasuredTop1, model: str, least: float | None, different: str) -> Check:
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
    if different and model == INT8_MODEL:
        message += f"; int8 may compute something else on the device ({different})"
    return Check("top-1", least is None or measured.top1 >= least, message)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _cost_check(manifest: Mapping[str, Any], model: str, budget: Budget) -> Check:
    """Compare a budget with the manifest's costs: weight bytes with those of the deployed file."""
    of_file = budget.quantity == WEIGHT_BYTES
    value = stated(manifest, Count, *(_section(model) if of_file else []), "costs", budget.quantity.name)
    subject = f"{budget.quantity.label} of {model}" if of_file else budget.quantity.label
    text = budget.quantity.unit.text
    return Check(str(budget), value <= budget.limit, f"{subject}: {text(value)}, the budget is {text(budget.limit)}")


def _latency_check(timed: TimedFile, budget: Budget) -> Check:
    unit, judged = budget.quantity.unit, judge_measured(timed.measurement, budget)
    value = f"{unit.format(judged.value_us)} {budget.quantity.label} on {timed.device.name}"
    upper = "unknown" if judged.upper_us is None else unit.format(judged.upper_us)
    limit = unit.text(budget.limit)
    message = f"{value}, upper confidence limit {upper}, the budget is {limit}: {judged.verdict}"
    return Check(str(budget), judged.verdict == "within", "; ".join([message, *timed.remarks]), judged.verdict)
