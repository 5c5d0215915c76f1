"""Stage profile: measure each device, fit its latency predictor, score it on networks it has not seen."""

from __future__ import annotations

from edgenas.deploy.onnx_export import EXPORTER_VERSION
from edgenas.files import write_json
from edgenas.latency.predictor import LatencyPredictor, outdated
from edgenas.latency.score import score_predictor
from edgenas.latency.table import LatencyTable
from edgenas.pipeline.data import run_dataset
from edgenas.pipeline.devices import run_devices, run_transport
from edgenas.pipeline.form import PLAIN, form_summary, settle_form
from edgenas.pipeline.graphs import device_graphs, timing_export
from edgenas.pipeline.run import Progress, Run
from edgenas.profiling.plan import make_plan
from edgenas.profiling.session import profile
from edgenas.space.form import ExportForm


def run_profile(run: Run, progress: Progress) -> None:
    """Measure every device of the run and fit its predictor."""
    if run.done("profile"):
        return
    config, space = run.config.profile, run.space
    num_classes = run_dataset(run).num_classes
    plan = make_plan(space, num_classes, blocks=config.blocks, networks=config.networks, seed=run.config.seed)
    form = settle_form(run, num_classes, progress)
    predictors = {}
    devices = run_devices(run)
    for name, device in devices.items():
        folder = run.folder / "latency" / name
        graphs = device_graphs(device, devices.values(), form)
        table = profile(
            space,
            plan,
            num_classes,
            device,
            export=timing_export(graphs, progress),
            exporter_version=EXPORTER_VERSION,
            form=graphs.form,
            quantiser_recipe=graphs.quantiser_recipe,
            rounds=config.rounds,
            seed=run.config.seed,
            folder=folder,
            transport=run_transport(run, device),
            progress=progress,
        )
        LatencyPredictor(space, num_classes).fit(table).save(folder / "predictor.json")
        score = score_predictor(space, table, num_classes, seed=run.config.seed).to_json()
        write_json(folder / "score.json", score)
        predictors[name] = {key: value for key, value in score.items() if key != "held_out"}
    result = {"blocks": len(plan.blocks), "networks": len(plan.networks), "predictors": predictors}
    run.finish("profile", result | {"form": form, "forms": form_summary(run)})


def run_form(run: Run) -> ExportForm:
    """The form in which the run's networks are exported in fp32, and their latencies measured.

    Raises:
        RunFolderError: the run was not profiled yet.
    """
    # Runs that do not say are from when there was one form.
    form: ExportForm = run.result("profile").get("form", PLAIN)
    return form


def run_predictors(run: Run) -> dict[str, LatencyPredictor]:
    """The fitted predictors by device name.

    Raises:
        RunFolderError: the run was not profiled yet.
    """
    return {name: _predictor(run, name) for name in run.result("profile")["predictors"]}


def _predictor(run: Run, device: str) -> LatencyPredictor:
    path = run.folder / "latency" / device / "predictor.json"
    if outdated(path):
        LatencyPredictor(run.space).fit(run_table(run, device)).save(path)
    return LatencyPredictor.load(path, run.space)


def run_table(run: Run, device: str) -> LatencyTable:
    """The table measured on one device."""
    return LatencyTable.load(run.folder / "latency" / device)
