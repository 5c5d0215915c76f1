"""The form of a run's fp32 graphs: a few networks are timed in every form, and all fp32 devices share the fastest.

int8 has no forms: quantised, all three become one graph.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgenas.deploy.onnx.exporter import export_forms
from edgenas.errors import ConfigError, RunFolderError
from edgenas.files import read_json, write_json
from edgenas.latency.device import Device
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.session import measure_networks
from edgenas.runs.folder import Progress, Run
from edgenas.runs.measuring_sessions import digest, keep_session, sessions
from edgenas.runs.run_devices import measured_devices, run_devices, run_transport
from edgenas.space.covering_samples import covering
from edgenas.space.graph_variant import EXPORT_FORMS, FORM_OPERATORS, ExportForm, allowed_forms

FILE = "latency/form.json"
PLAIN: ExportForm = "direct"
NETWORKS = 6
PROCESSES = 4
"""In which variants are compared, side by side in each: half as many as state the latency of one network."""
WORTH = 0.99
"""Share of the plain form's latency that another must stay below to be taken."""
Measured = Mapping[tuple[ExportForm, str], Measurement]
"""By form and arch."""


def settle_form(run: Run, num_classes: int, progress: Progress) -> ExportForm:
    """The form that the config names; for `auto` the fastest, measured once and kept in the run folder.

    Forms that need what a device lacks are left out. Where no device runs fp32, they are timed in fp32 all the same:
    the fp32 file is bundled, and int8 is held against it.

    Raises:
        ConfigError: the form that is named needs what a device lacks.
        MeasurementError: a device could not run one of the networks.
        RunFolderError: what the folder says is no form.
    """
    named, forms = run.config.export.form, _forms(run)
    if named != "auto":
        if named not in forms:
            needed = ", ".join(FORM_OPERATORS[named])
            raise ConfigError(f"export.form: {named} needs {needed}, which a device lacks; wanted {', '.join(forms)}")
        return named
    path = run.folder / FILE
    if len(forms) > 1 and measured_devices(run) and not path.exists():
        ratios = _measure_all(run, forms, num_classes, progress)
        write_json(path, {"form": fastest_form(list(ratios.values())), "latency_ratio": ratios})
    form: ExportForm = _read(path)["form"] if path.exists() else forms[0]
    return form


def _forms(run: Run) -> tuple[ExportForm, ...]:
    """Those that all devices can run, the plainest first."""
    return allowed_forms({entry for device in run_devices(run).values() for entry in device.unsupported})


def form_summary(run: Run) -> dict[str, Any] | None:
    """What was measured of the forms; None where the config named one."""
    path = run.folder / FILE
    return _read(path) if path.exists() else None


def ratios_to_plain(measured: Measured) -> dict[ExportForm, list[float]]:
    """Latency of each network over that of its plainest form, timed side by side, by form."""
    forms = tuple(dict.fromkeys(form for form, _ in measured))
    return {
        form: [found.p50_us / measured[forms[0], arch].p50_us for (own, arch), found in measured.items() if own == form]
        for form in forms
    }


def fastest_form(ratios: Sequence[Mapping[ExportForm, Sequence[float]]]) -> ExportForm:
    """The form of the lowest median ratio, devices weighing alike; the plainest unless another gains a percent."""
    forms = tuple(ratios[0])
    logs = {form: float(np.mean([np.log(np.median(device[form])) for device in ratios])) for form in forms}
    best = min(forms, key=lambda form: logs[form])
    return best if logs[best] < np.log(WORTH) else forms[0]


def _measure_all(
    run: Run, forms: Sequence[ExportForm], num_classes: int, progress: Progress
) -> dict[str, dict[ExportForm, list[float]]]:
    """Latency ratios by device and form."""
    archs = covering(run.space, NETWORKS, run.config.seed)
    networks = {arch.id: run.space.unroll(arch, num_classes) for arch in archs}
    with tempfile.TemporaryDirectory(dir=_made(run.folder / "latency"), prefix=".models.") as folder:
        step = partial(progress, "exporting")
        files = export_forms(networks, Path(folder), step, forms=forms)
        devices = _fp32_devices(run).items()
        return {name: ratios_to_plain(_measure(run, device, files, progress)) for name, device in devices}


def _fp32_devices(run: Run) -> dict[str, Device]:
    """The devices of fp32; where there are none, all of them run so."""
    devices = measured_devices(run)
    found = {name: device for name, device in devices.items() if device.run.precision == "fp32"}
    as_fp32 = {"precision": "fp32"}
    return found or {
        name: device.model_copy(update={"run": device.run.model_copy(update=as_fp32)})
        for name, device in devices.items()
    }


def _measure(run: Run, device: Device, files: Mapping[tuple[ExportForm, str], Path], progress: Progress) -> Measured:
    texts = {f"{form} {arch}": (form, arch) for form, arch in files}
    models = {text: files[name] for text, name in texts.items()}
    found = measure_networks(
        models,
        device,
        rounds=run.config.profile.rounds,
        seed=run.config.seed,
        out=_made(run.folder / "latency" / device.name) / "forms.jsonl",
        transport=run_transport(run, device),
        processes=PROCESSES,
        progress=lambda _, done, total: progress("comparing forms of the graph", done, total),
    )
    # A start that was killed before the variant was written down reads the same rows again.
    if not any(row.files == digest(models) for row in sessions(run, device.name)):
        keep_session(run, device.name, digest(models), found)
    return {texts[text]: measurement for text, measurement in found.items()}


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(path: Path) -> dict[str, Any]:
    found = read_json(path, "delete it, and the forms are timed again")
    if found.get("form") not in EXPORT_FORMS:
        wanted = ", ".join(EXPORT_FORMS)
        raise RunFolderError(f"{path}: form: wanted {wanted}, got {found.get('form')!r}: delete it to time them again")
    return found
