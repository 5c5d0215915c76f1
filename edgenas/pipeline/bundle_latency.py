"""Latencies of a bundle's files, and what they were measured with."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgenas.deploy.recipe import QuantiserRecipe
from edgenas.pipeline.bundle_network import Network
from edgenas.pipeline.devices import measured_devices, run_transport
from edgenas.pipeline.form import PLAIN
from edgenas.pipeline.graphs import Graphs
from edgenas.pipeline.profile import predicted_latency, run_form, run_predictors, run_table
from edgenas.pipeline.run import Progress, Run
from edgenas.profiling.record import Measurement
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transport import installed_runtime

Measured = Mapping[str, Mapping[str, Measurement]]
"""Measurements by device and precision."""
TIMES = ("p50_us", "p95_us", "ci_low_us", "ci_high_us", "count", "repeat_noise", "doubts")
MEASURED = (*TIMES, "model_rss_bytes", "process_rss_bytes")
"""What a manifest states of a measurement."""


def measure(network: Network, models: Mapping[str, Path], progress: Progress) -> Measured:
    """Files timed side by side on every device, but where `verify` timed the only one."""
    run, done = network.run, judged(network, "fp32") if len(models) == 1 else {}
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
        for name, device in measured_devices(run).items()
        if name not in done
    }


def judged(network: Network, precision: str) -> dict[str, dict[str, Any]]:
    """What `verify` found of the file of a precision, by device, where that is of the form asked for."""
    if network.verified is None or not network.options.as_measured:
        return {}
    run, latency = network.run, network.verified[0]["latency"]
    names = [name for name, device in measured_devices(run).items() if device.run.precision == precision]
    return {name: latency[name] | circumstances(run, name) | {"preprocessing_included": False} for name in names}


def fp32_latency(network: Network, measured: Measured) -> dict[str, dict[str, Any]]:
    """Latency of model.onnx by device, as a manifest states it."""
    timed = {name: latency(network, name, found["fp32"]) for name, found in measured.items()}
    found = timed | judged(network, "fp32")
    return {name: found[name] for name in measured_devices(network.run)}


def fp32_spread(found: Measurement) -> dict[str, Any]:
    """How sure the fp32 latency is that int8 is held against."""
    return {
        "fp32_ci_low_us": found.ci_low_us,
        "fp32_ci_high_us": found.ci_high_us,
        "fp32_repeat_noise": found.repeat_noise,
    }


def latency(network: Network, device: str, found: Measurement, recipe: QuantiserRecipe | None = None) -> dict[str, Any]:
    """A measurement of one file on one device, as a manifest states it; of an int8 one with its recipe."""
    said = circumstances(network.run, device)
    graphs = Graphs(PLAIN, recipe) if recipe else Graphs(run_form(network.run))
    said["measured_with"] |= {
        "precision": "int8" if recipe else "fp32",
        "quantiser_recipe": graphs.quantiser_recipe,
        "form": graphs.form,
    }
    if measured_devices(network.run)[device].run.transport == "local":
        said["measured_with"]["runtime_version"] = installed_runtime()
    values = {key: value for key, value in dataclasses.asdict(found).items() if key in MEASURED}
    predicted = _predicted(network, device, "int8" if recipe else "fp32")
    return predicted | values | said | {"preprocessing_included": network.options.embed_preprocessing}


def _predicted(network: Network, device: str, precision: str) -> dict[str, Any]:
    """What the device's predictor says, which knows files of its precision alone, in the form that was profiled."""
    run, own = network.run, measured_devices(network.run)[device].run.precision
    if not network.options.as_measured or own != precision:
        return {}
    return predicted_latency(run_predictors(run)[device], network.arch, run.config.profile.coverage)


def circumstances(run: Run, device: str) -> dict[str, Any]:
    """What a bundle says of the machine that its latencies were measured on; `here` says nothing elsewhere."""
    table = run_table(run, device)
    return {"measured_with": asdict(table.identity), "cpu": table.circumstances["cpu"], "os": table.circumstances["os"]}
