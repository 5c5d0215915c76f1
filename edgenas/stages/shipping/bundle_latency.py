"""Latencies of a bundle's files: timed side by side, judged, and as the manifest states them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.verdict import LEAST_SESSIONS
from edgenas.records.bundle import FileLatency, Int8FileLatency
from edgenas.records.export import JudgedLatency
from edgenas.records.latency import Identity
from edgenas.records.verify import MeasuredLatency, PredictedLatency
from edgenas.space.graph_variant import PLAIN_VARIANT
from edgenas.stages.devices.device_graphs import Graphs
from edgenas.stages.devices.device_latencies import DeviceLatencies
from edgenas.stages.devices.first_predictions import predicted_latency
from edgenas.stages.devices.int8_export import Comparison
from edgenas.stages.devices.measuring import Session, SessionTimer
from edgenas.stages.shipping.bundle_network import Network


def time_files(timer: SessionTimer, models: Mapping[str, Path], deployed: str, rows: Path) -> Session:
    """Time files side by side on a device, in processes that chose nothing.

    Args:
        timer: timer of the device.
        models: files by precision.
        deployed: precision of the file that is meant for the device.
        rows: folder of the timer's rows.
    """
    timer.add_sessions(models[deployed], rows, LEAST_SESSIONS)
    return timer.time(models, rows / f"{timer.device.name}.jsonl", [deployed])


def file_latency(
    network: Network,
    device: str,
    measured: Measurement,
    judged: JudgedLatency | None,
    latencies: DeviceLatencies,
    recipe: QuantiserRecipe | None = None,
) -> FileLatency:
    """Return the latency of one file on one device as a manifest states it.

    Args:
        network: the network.
        device: name of the device.
        measured: measurement of the file.
        judged: verdict on the file; None where it is not meant for the device.
        latencies: tables and predictors of the run.
        recipe: recipe of an int8 file; None for fp32.
    """
    prediction, circumstances = _prediction(network, device, recipe, latencies), latencies.tables[device].circumstances
    return FileLatency(
        **(dict(prediction) if prediction else {}),
        **dict(MeasuredLatency.part_of(measured)),
        **(dict(judged) if judged else {}),
        measured_with=_identity(network, device, recipe, latencies),
        cpu=circumstances["cpu"],
        os=circumstances["os"],
        preprocessing_included=network.options.embed_preprocessing,
    )


def int8_latency(latency: FileLatency, comparison: Comparison) -> Int8FileLatency:
    """Return the latency of an int8 file together with that of the fp32 file that was timed beside it."""
    return Int8FileLatency(
        **{name: getattr(latency, name) for name in latency.model_fields_set},
        fp32_p50_us=comparison.fp32.p50_us,
        compared_p50_us=comparison.int8.p50_us,
        speedup=comparison.speedup,
        worth_it=comparison.worth_it,
        fp32_ci_low_us=comparison.fp32.ci_low_us,
        fp32_ci_high_us=comparison.fp32.ci_high_us,
        fp32_repeat_noise=comparison.fp32.repeat_noise,
    )


def _prediction(
    network: Network, device: str, recipe: QuantiserRecipe | None, latencies: DeviceLatencies
) -> PredictedLatency | None:
    """Return the latency that the device's predictor gives; None in another precision or form than was profiled.

    Predictors are of the run's own space.
    """
    profiled = network.devices.measured[device].run.precision
    if network.arch.network or not network.options.as_measured or profiled != ("fp32" if recipe is None else "int8"):
        return None
    if network.verified is not None:
        # Predicted before it was measured; a refitted predictor may have seen it.
        return network.verified.record.latency[device].prediction
    return predicted_latency(latencies.predictors[device], network.arch, network.config.profile.coverage)


def _identity(network: Network, device: str, recipe: QuantiserRecipe | None, latencies: DeviceLatencies) -> Identity:
    """Return the settings of the measurement: those of the device's table, with the graph of this file."""
    graphs = Graphs(PLAIN_VARIANT, recipe) if recipe else Graphs(network.variant)
    identity = latencies.tables[device].identity
    kind = network.devices.reach.stated_kind(network.devices.measured[device])
    return replace(
        identity,
        precision="fp32" if recipe is None else "int8",
        quantiser_recipe=graphs.quantiser_recipe,
        graph_variant=graphs.variant,
        runtime_version=kind.current_version(identity.runtime_version),
    )
