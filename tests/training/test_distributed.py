"""Training in a group of processes, over gloo on the CPU."""

from __future__ import annotations

import itertools
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import train_in_group
from forked import Forked, command_line
from small_run import SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.config.train_config import AugmentConfig
from edgenas.errors import ConfigError
from edgenas.files import read_json, read_jsonl
from edgenas.runs.run import open_run
from edgenas.stages.weights.training_archs import TrainingPool
from edgenas.training.checkpoint import FILE_NAME
from edgenas.training.data.augment import augment
from edgenas.training.distributed import Processes

Function = Callable[..., None]
NUMBERS = itertools.count()
"""Of the processes, for the names of their files."""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def run_group(count: int, function: Function, *arguments: Any, cwd: Path) -> list[CompletedProcess[str]]:
    """Run the processes of a group to their end."""
    return [process.ended() for process in start_group(count, function, *arguments, cwd=cwd)]


def start_group(count: int, function: Function, *arguments: Any, cwd: Path) -> list[Forked]:
    """Start a group as `torchrun` does, but without its elastic agent, whose start takes seconds."""
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    started = []
    for rank in range(count):
        environment = {**(group if count > 1 else {}), "RANK": str(rank), "LOCAL_RANK": str(rank)}
        stdout, stderr = (cwd / f"{stream}{next(NUMBERS)}" for stream in ("stdout", "stderr"))
        started.append(Forked(function, *arguments, cwd=cwd, stdout=stdout, stderr=stderr, environment=environment))
    return started


def codes(ended: list[CompletedProcess[str]]) -> list[int]:
    return [process.returncode for process in ended]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes have trained in undisturbed."""
    cwd = tmp_path_factory.mktemp("straight")
    ended = run_group(2, train_in_group.main, cwd / "run", "sandwich", cwd=cwd)
    assert codes(ended) == [0, 0], ended[0].stderr
    return cwd / "run"


@pytest.mark.parametrize("recipe", ["sandwich", pytest.param("progressive-shrinking", marks=pytest.mark.slow)])
def test_two_processes_equal_one_with_the_same_batch(recipe: str, straight: Path, tmp_path: Path) -> None:
    pair = straight
    if recipe != "sandwich":
        pair = tmp_path / "pair"
        assert codes(run_group(2, train_in_group.main, pair, recipe, cwd=tmp_path)) == [0, 0]
    assert codes(run_group(1, train_in_group.main, tmp_path / "single", recipe, cwd=tmp_path)) == [0]
    weights = []
    for folder in (tmp_path / "single", pair):
        weights.append(safetensors.torch.load_file(folder / FILE_NAME))
        steps = [row["step"] for row in read_jsonl(folder / "training.jsonl") if row["kind"] == "step"]
        assert steps == list(range(train_in_group.STEPS))
    one, two = ({name: tensor for name, tensor in state.items() if name.startswith("net.")} for state in weights)
    assert {tensor.dtype for tensor in one.values()} == {torch.float64}
    torch.testing.assert_close(two, one, rtol=0, atol=1e-9)
    name = "blocks.stem.conv.conv.weight"
    assert (one[f"net.{name}"] - train_in_group.supernet().state_dict()[name]).abs().max() > 1e-3


def aborted_in_gloo(process: CompletedProcess[str]) -> bool:
    """Return whether gloo ended the process: its own thread may throw when a peer is gone, which nothing can catch."""
    return process.returncode == -signal.SIGABRT and "gloo::" in process.stderr


def test_the_others_report_a_process_that_ends_and_training_resumes(tmp_path: Path) -> None:
    for attempt in range(3):
        group = (train_in_group.main, tmp_path / str(attempt), "sandwich")
        first, second = run_group(2, *group, 5, cwd=tmp_path)
        if not aborted_in_gloo(first):
            break
    assert second.returncode == 9
    assert first.returncode == 1, first.stderr
    assert "another process of the group has ended" in first.stderr
    assert "Traceback" not in first.stderr
    assert codes(run_group(2, *group, cwd=tmp_path)) == [0, 0]


@pytest.mark.parametrize(
    "asked", [[1], pytest.param([0], marks=pytest.mark.slow), pytest.param([0, 1], marks=pytest.mark.slow)]
)
def test_a_group_with_a_process_asked_to_end_writes_a_checkpoint_and_resumes(
    asked: list[int], straight: Path, tmp_path: Path
) -> None:
    group = (train_in_group.main, tmp_path / "run", "sandwich")
    # It sleeps from step 5 on, so that the signal arrives during training.
    started = start_group(2, *group, 5, True, cwd=tmp_path)
    log = tmp_path / "run" / "training.jsonl"
    while all(process.poll() is None for process in started) and not (log.exists() and len(read_jsonl(log)) > 4):
        time.sleep(0.02)
    for rank in asked:
        started[rank].send_signal(signal.SIGTERM)
    ended = [process.ended() for process in started]
    assert codes(ended) == [143, 143], ended[0].stderr + ended[1].stderr
    assert (tmp_path / "run" / FILE_NAME).exists()
    assert codes(run_group(2, *group, cwd=tmp_path)) == [0, 0]
    cut, whole = (safetensors.torch.load_file(folder / FILE_NAME) for folder in (tmp_path / "run", straight))
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)


def test_the_command_trains_in_a_group_and_one_process_writes(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG.replace("epochs: 3", "epochs: 0.5"))
    first, second = run_group(2, command_line, "train", "small.yaml", "--json", cwd=tmp_path)
    assert codes([first, second]) == [0, 0], first.stderr + second.stderr
    assert '"train_seconds"' in first.stdout
    assert second.stdout == ""
    result = read_json(tmp_path / "runs" / "small" / "supernet" / "result.json")
    assert result["images_per_second"] > 0
    rows = read_jsonl(tmp_path / "runs" / "small" / "supernet" / "training.jsonl")
    steps = [row["step"] for row in rows if row["kind"] == "step"]
    assert steps == list(range(len(steps)))
    # No process trains again once training is finished.
    again = run_group(2, command_line, "train", "runs/small", "--json", cwd=tmp_path)
    assert codes(again) == [0, 0], again[0].stderr


def test_a_group_trains_one_pool_once_latencies_are_known(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    within = SMALL_CONFIG.replace("recipe: sandwich, epochs: 3", "epochs: 0.5") + "budgets: [macs=0.25M]\n"
    (tmp_path / "small.yaml").write_text(within)
    early = run_group(2, command_line, "train", "small.yaml", cwd=tmp_path)
    assert codes(early) == [2, 2], early[0].stderr
    assert "edgenas profile runs/small" in early[0].stderr
    assert edgenas("profile", "runs/small", cwd=tmp_path).returncode == 0
    done = run_group(2, command_line, "train", "runs/small", cwd=tmp_path)
    assert codes(done) == [0, 0], done[0].stderr
    run = open_run(tmp_path / "runs/small")
    assert run.done("train")
    pool = TrainingPool(run.folder, run.config.training, run.space).archs()
    assert pool is not None
    assert run.space.largest not in pool


@pytest.mark.parametrize("count", [2, 3, 4])
def test_shares_are_a_division_of_the_batch_and_of_its_augmentation(count: int) -> None:
    indices = np.arange(12)
    shares = [Processes(rank, count).share(indices) for rank in range(count)]
    assert sorted(np.concatenate(shares).tolist()) == indices.tolist()
    images = torch.randint(0, 256, (12, 1, 9, 9), dtype=torch.uint8)
    settings = AugmentConfig(shift=0.3, flip=True)
    labels = torch.zeros(12, dtype=torch.int64)
    whole, _ = augment(images, labels, settings, 1, torch.Generator().manual_seed(3))
    for rank, share in enumerate(shares):
        generator = torch.Generator().manual_seed(3)
        augmented, _ = augment(images[share], labels[share], settings, 1, generator, Processes(rank, count))
        assert torch.equal(augmented, whole[share])


@pytest.mark.parametrize("batch_size", [9, 2])
def test_a_batch_that_cannot_be_shared_evenly_is_refused(batch_size: int) -> None:
    Processes(0, 2).check_batch(8)
    with pytest.raises(ConfigError, match=rf"batch_size is {batch_size}, for 2 processes: expected a multiple"):
        Processes(0, 2).check_batch(batch_size)
