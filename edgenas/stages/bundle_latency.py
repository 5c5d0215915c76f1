"""Latencies of a bundle's files, and what they were measured with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgenas.budget import Budget
from edgenas.deploy.int8.quantiser_recipe import QuantiserRecipe
from edgenas.profiling.measurement import Measurement
from edgenas.profiling.verdict import LEAST_SESSIONS, VERDICTS, Judgement, judge_measured, worst
from edgenas.progress import Progress
from edgenas.records.export import JudgedLatency
from edgenas.records.record import Verdict
from edgenas.records.search import SearchRecord
from edgenas.runs.run import Run
from edgenas.space.graph_variant import PLAIN_VARIANT
from edgenas.stages.bundle_network import Network
from edgenas.stages.device_graphs import Graphs
from edgenas.stages.first_predictions import predicted_latency
from edgenas.stages.measuring import Session, session_timer
from edgenas.stages.predictors import run_predictors, run_table, run_variant

Timed = Mapping[str, Session]
"""By device, a session in which files of several precisions were timed side by side, by precision."""
TIMES = ("p50_us", "p95_us", "ci_low_us", "ci_high_us", "count", "repeat_noise", "warnings")
MEASURED = (*TIMES, "model_rss_bytes", "process_rss_bytes")
"""What a manifest states of a measurement."""


def time_files(network: Network, models: Mapping[str, Path], rows: Path, progress: Progress) -> Timed:
    """Time files side by side on every measured device of the run, in processes that chose nothing."""
    return {name: _time_on(network, name, models, rows, progress) for name in network.run.devices.measured}


def _time_on(network: Network, device: str, models: Mapping[str, Path], rows: Path, progress: Progress) -> Session:
    deployed = deployed_precision(network, device)
    timer = session_timer(network.run, device, "timing the export", progress)
    timer.add_sessions(models[deployed], rows, LEAST_SESSIONS)
    return timer.time(models, rows / f"{device}.jsonl", [deployed])


def deployed_precision(network: Network, device: str) -> str:
    """Return the precision of the file that is meant for a device."""
    return network.run.devices.measured[device].run.precision if network.options.precision == "int8" else "fp32"


def judged_latency(network: Network, device: str, session: Session) -> JudgedLatency:
    """Compare the deployed file with every latency budget of a device."""
    measured = session.measured[deployed_precision(network, device)]
    budgets = [budget for budget in run_budgets(network.run) if budget.device == device]
    judged = [judge_measured(measured, budget, session.slowdown) for budget in budgets]
    found = decisive(judged) if judged else None
    return JudgedLatency(
        verdict=found.verdict if found else None,
        limited=found.budget.quantity.statistic if found else None,
        limit_us=found.budget.limit if found else None,
        value_us=found.value_us if found else None,
        upper_us=found.upper_us if found else None,
        sessions=session.sessions,
        repeated=session.repeated,
    )


def decisive(judged: Sequence[Judgement]) -> Judgement:
    """Return the judgement with the worst verdict; of several, the one that is nearest to its limit or most over it."""
    return max(judged, key=lambda one: (VERDICTS.index(one.verdict), (one.upper_us or one.value_us) / one.budget.limit))


def verdict(network: Network, timed: Timed) -> Verdict | None:
    """Return the worst verdict on the deployed file over all devices; None where no latency is limited."""
    return worst(judged_latency(network, name, session).verdict for name, session in timed.items())


def run_budgets(run: Run) -> tuple[Budget, ...]:
    """Return the budgets of the run's search, the default one included."""
    return run.result(SearchRecord).budgets


def fp32_latency(network: Network, timed: Timed) -> dict[str, dict[str, Any]]:
    """Return the latency of model.onnx by device, as a manifest states it."""
    return {name: latency(network, name, session, "fp32") for name, session in timed.items()}


def fp32_spread(found: Measurement) -> dict[str, Any]:
    """Return the uncertainty of the fp32 latency that int8 is compared with."""
    return {
        "fp32_ci_low_us": found.ci_low_us,
        "fp32_ci_high_us": found.ci_high_us,
        "fp32_repeat_noise": found.repeat_noise,
    }


def latency(
    network: Network, device: str, session: Session, precision: str, recipe: QuantiserRecipe | None = None
) -> dict[str, Any]:
    """Return what a manifest states of one file on one device; of the deployed one with its verdict."""
    stated = circumstances(network.run, device)
    graphs = Graphs(PLAIN_VARIANT, recipe) if recipe else Graphs(run_variant(network.run))
    stated["measured_with"] |= {
        "precision": precision,
        "quantiser_recipe": graphs.quantiser_recipe,
        "graph_variant": graphs.variant,
    }
    kind = network.run.reach.stated_kind(network.run.devices.measured[device])
    stated["measured_with"]["runtime_version"] = kind.current_version(stated["measured_with"]["runtime_version"])
    values = {key: value for key, value in asdict(session.measured[precision]).items() if key in MEASURED}
    deployed = precision == deployed_precision(network, device)
    judged = judged_latency(network, device, session).to_json() if deployed else {}
    included = {"preprocessing_included": network.options.embed_preprocessing}
    return _predicted(network, device, precision) | values | judged | stated | included


def _predicted(network: Network, device: str, precision: str) -> dict[str, Any]:
    """Return the latency that the device's predictor gives; it holds for the precision and graph variant profiled."""
    run, own = network.run, network.run.devices.measured[device].run.precision
    if not network.options.as_measured or own != precision:
        return {}
    if network.verified is not None:
        # Predicted before it was measured; a refitted predictor may have seen it.
        return network.verified[0].latency[device].prediction.to_json()
    return predicted_latency(run_predictors(run)[device], network.arch, run.config.profile.coverage).to_json()


def circumstances(run: Run, device: str) -> dict[str, Any]:
    """Describe the machine that latencies were measured on; its name `here` means nothing on other machines."""
    table = run_table(run, device)
    return {"measured_with": asdict(table.identity), "cpu": table.circumstances["cpu"], "os": table.circumstances["os"]}
