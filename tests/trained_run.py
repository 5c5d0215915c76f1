"""A run whose supernet is trained, and one that is finished with results written by hand; nothing is measured."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from small_run import SMALL_CONFIG, SMALL_SPACE

from edgenas.budget import Budget
from edgenas.config.reading import load_config
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.quantities import LATENCY
from edgenas.records.export import ExportRecord, ShippedNetwork
from edgenas.records.profile import ProfileRecord
from edgenas.records.search import FeasibleShares, FrontNetwork, SearchRecord
from edgenas.records.verify import MeasuredNetwork, NetworkLatency, VerifyRecord
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch
from edgenas.stages.front.front_files import model_path
from edgenas.stages.start import start_run
from edgenas.stages.weights.run_supernet import trained_supernet
from edgenas.stages.whole_run import run_stages
from edgenas.training.materialise import materialise


def quiet(label: str, done: int, total: int) -> None:
    pass


def trained_run(cwd: Path, *overrides: str) -> Run:
    """The small config's run, trained for an epoch."""
    (cwd / "tiny-16.yaml").write_text(SMALL_SPACE)
    (cwd / "small.yaml").write_text(SMALL_CONFIG)
    config = load_config(cwd / "small.yaml", [f"space={cwd / 'tiny-16.yaml'}", "train.epochs=1", *overrides])
    run = start_run(config, cwd / "run")
    run_stages(run, quiet, ["train"])
    return run


def make_trained_run(folder: Path) -> None:
    """Write the run that `trained_run` returns to `folder`/run."""
    trained_run(folder)


def make_finished_run(folder: Path, trained: Path) -> None:
    """Write a copy of a trained run to `folder`/run, finished by hand."""
    finished_by_hand(copied_to(folder, trained))


def copied_to(folder: Path, run: Path) -> Run:
    """Return a copy of a run folder, in `folder`/run, which a test may change."""
    return open_run(Path(shutil.copytree(run, folder / "run", ignore=shutil.ignore_patterns(".lock*"))))


def finished_by_hand(run: Run) -> None:
    """Let a trained run have been searched, verified and exported: its chosen network is the largest subnet."""
    archs = (run.space.smallest, run.space.largest)
    net = trained_supernet(run)
    profile = ProfileRecord(
        planned={}, predictors={"here": None}, notes=(), graph_variant="direct", graph_variants=None
    )
    run.finish(profile)
    run.finish(searched(run, archs))
    for number, arch in enumerate(archs):
        subnet = materialise(net, arch, run.images.calibration)
        export_onnx(subnet, run.folder / model_path(number))
    run.finish(verified(archs))
    export_onnx(subnet, run.folder / "export/bundle/model.onnx")
    chosen = ShippedNetwork(
        arch=archs[1],
        latency={},
        verdict=None,
        val_top1=0.6,
        test_top1=0.5,
        onnx="export/bundle/model.onnx",
        bundle="export/bundle",
    )
    run.finish(ExportRecord(chosen=chosen, attempts=(), notes=(), costs={}, int8=None))


def searched(run: Run, archs: Sequence[Arch]) -> SearchRecord:
    """Return the result of a search whose front are these networks, each more accurate than the one before."""
    return SearchRecord(
        strategy="nsga2",
        refits=0,
        asked=run.config.search.evaluations,
        evaluations=24,
        origins={},
        exhausted=False,
        failures=(),
        seconds=2.0,
        objectives=(),
        hypervolume=1.0,
        reference_point=(1.0,),
        hypervolume_by_batch=(1.0,),
        evaluations_by_batch=(24,),
        budgets=(Budget(LATENCY, 100.0, "here"),),
        feasibility=FeasibleShares(share=1.0, budgets=()),
        front=tuple(FrontNetwork(arch=arch, val_top1=0.5 + 0.1 * n, objectives={}) for n, arch in enumerate(archs)),
    )


def verified(archs: Sequence[Arch]) -> VerifyRecord:
    """Return the result of measuring these networks, the last of which is chosen."""
    latency = NetworkLatency(predicted_us=50.0, interval_us=None, coverage=None, p50_us=50.0, p95_us=50.0)
    front = tuple(
        MeasuredNetwork(
            arch=arch,
            val_top1=0.5 + 0.1 * number,
            deployed_top1=0.5 + 0.1 * number,
            dropped=False,
            dropped_because=None,
            eligible=True,
            latency={"here": latency.model_copy(update={"verdict": "within"})},
        )
        for number, arch in enumerate(archs)
    )
    return VerifyRecord(
        front=front,
        candidates=tuple(reversed(archs)),
        chosen=archs[-1],
        verdict="within",
        val_top1=front[-1].val_top1,
        model=model_path(len(archs) - 1),
        chosen_by="best",
        chosen_as="the most accurate within every budget",
        refits=0,
        first_predictions={},
        notes=(),
    )
