"""Stage profile: measure each device, fit its latency predictor, score it on networks it has not seen."""

from __future__ import annotations

from dataclasses import replace

from edgenas.deploy.onnx.exporter import EXPORTER_VERSION
from edgenas.errors import TableError
from edgenas.latency.device import Device
from edgenas.latency.predictor import LatencyPredictor
from edgenas.latency.predictor_score import score_predictor
from edgenas.latency.table import BLOCK, LatencyTable, find_table
from edgenas.profiling.session import profile
from edgenas.profiling.timing_plan import Plan, distinct_blocks
from edgenas.progress import Progress
from edgenas.records.profile import PlannedRows, PredictorScore, ProfileRecord
from edgenas.runs.run import Run
from edgenas.space.graph_variant import GraphVariant
from edgenas.space.space import ClassifierSpace
from edgenas.stages.device_graphs import device_graphs, timing_export
from edgenas.stages.fastest_variant import choose_variant, variant_record
from edgenas.stages.predictors import base_predictor
from edgenas.stages.profile_plan import device_plan

SCORED_NETWORKS = 10
"""Networks of a table from elsewhere from which its predictor can be scored."""
ENOUGH_MAPE = 0.05
"""Error on unseen networks above which a carried-over predictor is called wanting."""


def run_profile(run: Run, progress: Progress) -> None:
    """Measure every device of the run and fit its predictor; of devices known by a table, fit it on that.

    Raises:
        TableError: `profile.base` or a device's table is no table, or lacks blocks that the space's networks have.
    """
    if run.done("profile"):
        return
    num_classes = run.num_classes
    base = base_predictor(run, num_classes)
    variant = choose_variant(run, num_classes, progress)
    plans: dict[str, Plan] = {}
    scores: dict[str, PredictorScore | None] = {}
    measured = run.devices.measured
    for name, device in run.devices.all.items():
        if name in measured:
            plans[name] = device_plan(run, device, variant, num_classes, base, progress)
            scores[name] = _profile_device(run, device, plans[name], variant, base, progress)
        else:
            scores[name] = _take_table(run, name)
    record = ProfileRecord(
        planned={
            name: PlannedRows(blocks=len(plan.blocks), networks=len(plan.networks)) for name, plan in plans.items()
        },
        predictors={name: score and score.quality for name, score in scores.items()},
        notes=tuple(_note(run, name, plans.get(name), score) for name, score in scores.items()),
        graph_variant=variant,
        graph_variants=variant_record(run),
    )
    run.finish(record)


def _profile_device(
    run: Run, device: Device, plan: Plan, variant: GraphVariant, base: LatencyPredictor | None, progress: Progress
) -> PredictorScore:
    folder = run.folder / "latency" / device.name
    space = run.networks
    graphs = device_graphs(device, run.devices.measured.values(), variant)
    table = profile(
        space,
        plan,
        device,
        export=timing_export(graphs, progress),
        exporter_version=EXPORTER_VERSION,
        variant=graphs.variant,
        quantiser_recipe=graphs.quantiser_recipe,
        rounds=run.config.profile.rounds,
        seed=run.config.seed,
        folder=folder,
        transport=run.devices.transport(device.name),
        progress=progress,
    )
    LatencyPredictor(space).fit(table, base).save(folder / "predictor.json")
    score = score_predictor(space, table, seed=run.config.seed, base=base)
    score.write(folder / "score.json")
    return score


def _take_table(run: Run, device: str) -> PredictorScore | None:
    """Fit the predictor of an unmeasured device on its table; return its score, None with too few networks for one.

    Raises:
        TableError: the table lacks blocks that the space's networks have.
    """
    name, space = str(run.devices.tables[device]), run.networks
    table, folder = _of_space(find_table(name), space), run.folder / "latency" / device
    try:
        predictor = LatencyPredictor(space).fit(table)
        predictor.predict([space.smallest, space.largest])
    except TableError as error:
        raise TableError(f"table {name}: {error}, or search a space whose networks it has") from None
    # As it was now: the one that the config names may change.
    table.save(folder)
    predictor.save(folder / "predictor.json")
    if len(table.networks(space.structure_id, space.num_classes)) < SCORED_NETWORKS:
        return None
    score = score_predictor(space, table, seed=run.config.seed)
    score.write(folder / "score.json")
    return score


def _of_space(table: LatencyTable, space: ClassifierSpace) -> LatencyTable:
    """Return the table without blocks that the space lacks, if it has all others: no block is regressed then."""
    needed = {block.key for block in distinct_blocks(space)}
    if not needed <= table.blocks().keys():
        return table
    return replace(table, rows=tuple(row for row in table.rows if row.kind != BLOCK or row.key in needed))


def _note(run: Run, device: str, plan: Plan | None, score: PredictorScore | None) -> str:
    """Describe how a device's latencies are predicted."""
    if plan is None or score is None:
        return _not_measured(run, device, score)
    base = run.config.profile.base
    return _fitted(device, plan, score) if base is None else _carried_over(device, score, base)


def _not_measured(run: Run, device: str, score: PredictorScore | None) -> str:
    sure = f"{score.mape:.1%} off on its networks" if score else "sums of blocks, of unknown error"
    return f"{device}: nothing is measured; its latencies are predicted from table {run.devices.tables[device]}: {sure}"


def _fitted(device: str, plan: Plan, score: PredictorScore) -> str:
    """Describe the measurements, and the predictor's error on unseen networks."""
    own = "" if score.repeat_noise is None else f", where the device itself repeats to {score.repeat_noise:.1%}"
    return (
        f"{device}: {len(plan.blocks)} blocks and {len(plan.networks)} networks; networks held out are predicted to "
        f"{score.mape:.1%} in the mean, {score.within_5:.0%} of them within 5%{own}"
    )


def _carried_over(device: str, score: PredictorScore, base: str | None) -> str:
    """Describe the error of a carried-over predictor, and whether more networks are needed."""
    note = f"{device}: carried over from {base} by {score.n_test} networks: {score.mape:.1%} off on unseen ones"
    if score.mape <= ENOUGH_MAPE:
        return note
    return f"{note}, which is not enough: measure more (profile.networks), or the blocks, too (no profile.base)"
