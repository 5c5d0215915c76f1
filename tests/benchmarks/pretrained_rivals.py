"""Rivals: pretrained networks that fit a budget, fine-tuned by a plain recipe; validation chooses among them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pretrained_latency import Rival, network_space
from pretrained_rows import FileScore, score_file

from edgenas import SuperNet, export_onnx
from edgenas.config.sections import DataConfig
from edgenas.config.train_config import AugmentConfig, TrainConfig
from edgenas.display import ProgressDisplay
from edgenas.files import read_json, write_bytes, write_json
from edgenas.space.graph_variant import GraphVariant
from edgenas.supernet.pretrained.sources import load_pretrained
from edgenas.supernet.subnet import Subnet
from edgenas.training import checkpoint
from edgenas.training.data.dataset import Dataset
from edgenas.training.finetuning import with_classes
from edgenas.training.materialise import preprocess_of, top1
from edgenas.training.standalone import epochs_of, step_seconds, train_network

RECIPE = TrainConfig(
    epochs=1,
    batch_size=32,
    learning_rate=4e-3,
    layer_decay=0.9,
    weight_decay=0.02,
    warmup=0.1,
    label_smoothing=0.1,
    augment=AugmentConfig(level="auto"),
)
"""AdamW with warm-up and a cosine, lower rates for early layers, label smoothing, and as much augmentation as suits the
images a class. EfficientNet-Lite0 at 64 px after 400 steps on 50 images a class of flowers5, of 600 other training
images: 71.7 % at 1e-3, 72.8 at 2e-3, 74.3 at 4e-3."""
WEIGHTS, RESULT, PLAN = "subnet.safetensors", "result.json", "plan.json"


@dataclass(frozen=True)
class Finetuning:
    """Fine-tuning of the networks that fit a budget, within a total time.

    Attributes:
        images: section `data` of the config of a run on the same images.
        dataset: the images, split as edgenas splits them.
        minutes: total time of all candidates.
        seed: seed of new classifiers, of the order of images and of their augmentation.
        folder: folder of checkpoints and results; the same call resumes.
    """

    images: DataConfig
    dataset: Dataset
    minutes: float
    seed: int
    folder: Path

    def run(
        self, candidates: Sequence[Rival], latency_ms: Mapping[str, float], variants: Mapping[str, GraphVariant]
    ) -> dict[str, Any]:
        """Return the fields of a row: every candidate, the chosen one, and its answers on the test images."""
        nets = {rival: self._network(rival) for rival in candidates}
        steps = self._steps(nets)
        tried = [self._tuned(rival, net, steps[rival.name]) for rival, net in nets.items()]
        best = max(range(len(tried)), key=lambda index: tried[index]["val_top1"])
        chosen = candidates[best]
        score = self._score(chosen, nets[chosen], variants[chosen.name])
        described = [
            {"name": rival.name, "latency_ms": latency_ms[rival.name], **result}
            for rival, result in zip(candidates, tried, strict=True)
        ]
        seconds = sum(result["seconds"] for result in tried)
        return {
            "chosen": chosen.name,
            "latency_ms": latency_ms[chosen.name],
            "graph_variant": variants[chosen.name],
            "candidates": described,
            "minutes_used": round(seconds / 60, 2),
            "val_top1": tried[best]["val_top1"],
            **score.fields(),
        }

    def _network(self, rival: Rival) -> Subnet:
        space = network_space(rival.network, (rival.resolution,))
        net = SuperNet.from_network(space, load_pretrained(rival.network).module).extract(space.largest)
        # Its statistics are those of its own training.
        net.calibration_images = len(self.dataset.train)
        torch.manual_seed(self.seed)
        return with_classes(net, self.dataset.num_classes)

    def _steps(self, nets: dict[Rival, Subnet]) -> dict[str, int]:
        """Return the optimiser steps of each candidate, in equal shares of the time; fixed at the first call."""
        path = self.folder / PLAN
        if not path.exists():
            each = 60 * self.minutes / len(nets)
            seconds = step_seconds(list(nets.values()), self.dataset.train, self._config, self.seed, rounds=3)
            steps = {rival.name: max(1, int(each / step)) for rival, step in zip(nets, seconds, strict=True)}
            write_json(path, {"steps": steps})
        planned: dict[str, int] = read_json(path)["steps"]
        return planned

    @property
    def _config(self) -> TrainConfig:
        size = min(RECIPE.batch_size, len(self.dataset.train))
        return RECIPE.model_copy(update={"batch_size": size})

    def _tuned(self, rival: Rival, net: Subnet, steps: int) -> dict[str, Any]:
        """Return the result of a candidate, whose network then has the trained weights."""
        folder = self.folder / rival.name
        if (folder / RESULT).exists():
            net.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
            return {key: value for key, value in read_json(folder / RESULT).items() if key != "schema_version"}
        with ProgressDisplay() as progress:
            seconds = train_network(
                net,
                self.dataset.train,
                self._config,
                steps=steps,
                seed=self.seed,
                progress=lambda done, total: progress(f"fine-tuning {rival.name}", done, total),
                folder=folder / "checkpoints",
            )
        # With the statistics of training: of few images, those without augmentation would be worse.
        net.cpu().eval()
        result = {
            "val_top1": top1(net, self.dataset.validation),
            "epochs": round(epochs_of(self._config, len(self.dataset.train), steps), 2),
            "steps": steps,
            "seconds": round(seconds, 1),
        }
        write_bytes(folder / WEIGHTS, safetensors.torch.save(checkpoint.plain(net.state_dict())))
        write_json(folder / RESULT, result)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return result

    def _score(self, rival: Rival, net: Subnet, variant: GraphVariant) -> FileScore:
        net.calibration_images = len(self.dataset.train)
        path = export_onnx(net.eval(), self.folder / rival.name / "model.onnx", variant=variant)
        preprocess = replace(preprocess_of(net), presize=self.dataset.presize)
        return score_file(path, self.dataset, preprocess, self.images)
