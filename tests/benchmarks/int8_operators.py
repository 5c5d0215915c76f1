"""What squeeze-excite and hard-swish cost in int8: accuracy drop and speed of ten subnets in four forms, as JSON.

    EDGENAS_DATA=... python tests/benchmarks/int8_operators.py train --folder F
    python tests/benchmarks/int8_operators.py quantise --folder F
    python tests/benchmarks/int8_operators.py time --folder F          (let nothing else run beside it)
    python tests/benchmarks/int8_operators.py table --folder F

`train` trains one supernet on CIFAR-10 (10,000 training images, 32 pixels), in which activation and squeeze-excite are
choices of every block; so all forms have the same weights and the same training. `quantise` takes ten random sizes in
four forms (ReLU or hard-swish, without or with squeeze-excite), quantises each after training (PTQ, the best of the
methods that a run compares) and after quantisation-aware fine-tuning (QAT), and scores fp32 and int8 on validation
images. `time` measures the fp32 and int8 files side by side on one thread. Every command resumes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import yaml
from evidence_runs import images_of_cifar
from machine import machine, versions
from scipy.stats import wilcoxon

from edgenas.config.reading import load_config
from edgenas.deploy.onnx.exporter import export_onnx
from edgenas.deploy.onnx.scoring import onnx_top1
from edgenas.display import ProgressDisplay
from edgenas.files import append_rows, read_jsonl
from edgenas.latency.device import probe
from edgenas.profiling.session import measure_networks
from edgenas.profiling.transports.local import LocalTransport
from edgenas.runs.run import Run, open_run
from edgenas.space.arch import Arch, StageGenes
from edgenas.space.graph_variant import PLAIN_VARIANT
from edgenas.space.loading import load_space
from edgenas.stages.devices.int8_export import needs_seven_bits, quantised
from edgenas.stages.start import start_run
from edgenas.stages.weights.qat_finetuning import fine_tuned
from edgenas.stages.weights.run_accuracy import run_subnets
from edgenas.stages.whole_run import run_stages

SUBNETS, SEED = 10, 20_261_130
IMAGES, EPOCHS, RESOLUTION = 10_000, 6, 32
ROUNDS = 40
CHOICES = {"activation": ["relu", "hardswish"], "squeeze_excite": [0, 0.25]}


class Form(NamedTuple):
    """The operators of all blocks of a subnet."""

    activation: str
    squeeze_excite: float

    def __str__(self) -> str:
        return f"{self.activation}, {'with' if self.squeeze_excite else 'without'} squeeze-excite"


FORMS = tuple(Form(activation, ratio) for activation in CHOICES["activation"] for ratio in CHOICES["squeeze_excite"])


def train(folder: Path) -> None:
    """Train the supernet, or resume its training."""
    folder.mkdir(parents=True, exist_ok=True)
    space = load_space({"preset": "mobile-32", "resolution": [RESOLUTION]}).model_dump(mode="json")
    stages = [stage | (CHOICES if number else {}) for number, stage in enumerate(space["stages"])]
    plain = {part: space[part] | {"activation": "relu"} for part in ("stem", "head")}
    value = space | plain | {"name": "int8-operators", "stages": stages}
    (folder / "space.yaml").write_text(yaml.safe_dump(value), encoding="utf-8")
    images = images_of_cifar(folder)
    config = {
        "name": "int8-operators",
        "space": str(folder / "space.yaml"),
        "data": {"name": "imagefolder", "path": str(images), "limit": IMAGES, "validation": 0.1},
        "train": {"recipe": "all-sizes", "epochs": EPOCHS, "learning_rate": 0.004, "augment": {"flip": True}},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    run = start_run(load_config(folder / "config.yaml", []), folder / "run")
    with ProgressDisplay() as progress:
        run_stages(run, progress, ("train",))


def archs(run: Run) -> list[Arch]:
    """Ten random sizes; `formed` gives them their operators."""
    rng = np.random.default_rng(SEED)
    return [run.space.sample(rng) for _ in range(SUBNETS)]


def formed(run: Run, arch: Arch, form: Form) -> Arch:
    """Return an architecture with the operators of a form in every block that has the choice."""
    stages = []
    for genes in arch.stages:
        changed = [
            dataclasses.replace(block, **form._asdict()) if block.activation is not None else block
            for block in genes.blocks
        ]
        stages.append(StageGenes(genes.width, tuple(changed)))
    return run.space.parse(Arch(arch.resolution, tuple(stages)).id)


def quantise(folder: Path) -> None:
    """Quantise and score what has no row yet."""
    run, rows = open_run(folder / "run"), folder / "accuracy.jsonl"
    done = {row["arch"] for row in read_jsonl(rows)}
    subnets = run_subnets(run)
    for number, size in enumerate(archs(run)):
        for form in FORMS:
            arch = formed(run, size, form)
            if arch.id not in done:
                row = _quantised(run, subnets(arch).cpu(), folder / "models" / f"{number}-{FORMS.index(form)}")
                append_rows(rows, [{"size": number, "form": str(form), "arch": arch.id, **row}])
                print(f"{len(read_jsonl(rows))} of {SUBNETS * len(FORMS)}", file=sys.stderr, flush=True)


def _quantised(run: Run, subnet: Any, stem: Path) -> dict[str, float]:
    """Write the fp32 file and the int8 file after training beside each other; return all accuracies."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    devices, images, split = [probe("here")], run.images, run.images.scoring
    preprocess = images.preprocess(subnet.arch)
    fp32 = export_onnx(subnet, stem.with_name(f"{stem.name}-fp32.onnx"), variant=PLAIN_VARIANT)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        after = quantised(run.config.export, images, fp32, preprocess, devices=devices, folder=folder)
        after.path.replace(stem.with_name(f"{stem.name}-int8.onnx"))
        seven = needs_seven_bits(devices)
        tuned, seconds = fine_tuned(run.config, images.dataset.train, subnet, _silent, seven_bit_weights=seven)
        model = export_onnx(tuned, folder / "tuned.onnx", variant=PLAIN_VARIANT)
        aware = quantised(run.config.export, images, model, preprocess, devices=devices, folder=folder)
    top1 = onnx_top1(fp32, split.tensor(), split.labels, preprocess)
    return {"fp32_top1": top1, "ptq_top1": after.best_top1, "qat_top1": aware.best_top1, "qat_seconds": seconds}


def _silent(label: str, done: int, total: int) -> None:
    """Report no progress."""


def time(folder: Path) -> None:
    """Time all files on one thread, interleaved."""
    device = probe("here", threads=1)
    models = {path.stem: path for path in sorted((folder / "models").glob("*.onnx"))}
    with ProgressDisplay() as progress:
        measured = measure_networks(
            models,
            device,
            rounds=ROUNDS,
            seed=0,
            out=folder / "latency.jsonl",
            transport=LocalTransport(),
            progress=progress,
        )
    found = {name: {"p50_us": one.p50_us, "repeat_noise": one.repeat_noise} for name, one in measured.items()}
    (folder / "latency.json").write_text(json.dumps({"machine": machine(), "files": found}, indent=1), "utf-8")


def table(folder: Path) -> dict[str, Any]:
    """Return medians and ranges of every form, and paired differences from ReLU without squeeze-excite."""
    latency = json.loads((folder / "latency.json").read_text("utf-8"))
    rows = [_row(row, latency["files"]) for row in read_jsonl(folder / "accuracy.jsonl")]
    by_form = {str(form): [row for row in rows if row["form"] == str(form)] for form in FORMS}
    plain, *others = by_form.values()
    return {
        "command": "python tests/benchmarks/int8_operators.py table",
        "machine": latency["machine"],
        "versions": versions("torch", "onnxruntime"),
        "validation_images": len(open_run(folder / "run").images.scoring),
        "forms": {name: {key: _spread([row[key] for row in of]) for key in KEYS} for name, of in by_form.items()},
        "against_plain": {
            name: {key: _paired([row[key] for row in of], [row[key] for row in plain]) for key in KEYS}
            for name, of in zip(list(by_form)[1:], others, strict=True)
        },
        "rows": rows,
    }


KEYS = ("fp32_top1", "ptq_drop", "qat_drop", "speed_ratio")


def _row(row: dict[str, Any], files: dict[str, dict[str, float]]) -> dict[str, Any]:
    stem = f"{row['size']}-{[str(form) for form in FORMS].index(row['form'])}"
    fp32, int8 = files[f"{stem}-fp32"]["p50_us"], files[f"{stem}-int8"]["p50_us"]
    drops = {f"{method}_drop": row["fp32_top1"] - row[f"{method}_top1"] for method in ("ptq", "qat")}
    return {**row, **drops, "fp32_us": fp32, "int8_us": int8, "speed_ratio": fp32 / int8}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def _paired(values: list[float], plain: list[float]) -> dict[str, float]:
    differences = [value - other for value, other in zip(values, plain, strict=True)]
    return {"median": statistics.median(differences), "p": float(wilcoxon(differences).pvalue)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["train", "quantise", "time", "table"])
    parser.add_argument("--folder", type=Path, required=True, help="what is done already lies here")
    options = SimpleNamespace(**vars(parser.parse_args()))
    if options.command == "table":
        print(json.dumps(table(options.folder), indent=1))
        return
    {"train": train, "quantise": quantise, "time": time}[options.command](options.folder)


if __name__ == "__main__":
    main()
