"""Training in a group of processes, over gloo on the CPU."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from halves import supernet
from small_run import SMALL_CONFIG, SMALL_SPACE, edgenas

from edgenas.config.sections import AugmentConfig
from edgenas.errors import ConfigError
from edgenas.files import read_json, read_jsonl
from edgenas.runs.run import open_run
from edgenas.stages.training_archs import training_pool
from edgenas.training.checkpoint import FILE_NAME
from edgenas.training.data.augment import augment
from edgenas.training.distributed import Processes

TESTS = Path(__file__).parents[1]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def run_group(count: int, command: list[str], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    """Run the processes of a group to their end."""
    return wait_for(start_group(count, command, cwd))


def start_group(count: int, command: list[str], cwd: Path) -> list[subprocess.Popen[str]]:
    """Start a group as `torchrun` does, but without its elastic agent, whose start takes seconds."""
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            cwd=cwd,
            env={**os.environ, **(group if count > 1 else {}), "RANK": str(rank), "LOCAL_RANK": str(rank),
                 "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
                 # A process that aborts in a thread of a library prints its stack.
                 "PYTHONFAULTHANDLER": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]  # fmt: skip


def wait_for(started: list[subprocess.Popen[str]]) -> list[subprocess.CompletedProcess[str]]:
    """Wait for processes and return their output."""
    ended = [process.communicate(timeout=200) for process in started]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(started, ended, strict=True)
    ]


@pytest.mark.parametrize("recipe", ["sandwich", pytest.param("progressive-shrinking", marks=pytest.mark.slow)])
def test_two_processes_equal_one_with_the_same_batch(recipe: str, tmp_path: Path) -> None:
    weights = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        ended = run_group(count, [str(TESTS / "train_in_group.py"), str(folder), recipe], tmp_path)
        assert [process.returncode for process in ended] == [0] * count, ended[0].stderr
        weights.append(safetensors.torch.load_file(folder / FILE_NAME))
        steps = [row["step"] for row in read_jsonl(folder / "training.jsonl") if row["kind"] == "step"]
        assert steps == list(range(20))
    one, two = ({name: tensor for name, tensor in state.items() if name.startswith("net.")} for state in weights)
    assert {tensor.dtype for tensor in one.values()} == {torch.float64}
    torch.testing.assert_close(two, one, rtol=0, atol=1e-9)
    name = "blocks.stem.conv.conv.weight"
    assert (one[f"net.{name}"] - supernet().state_dict()[name]).abs().max() > 1e-3


def aborted_in_gloo(process: subprocess.CompletedProcess[str]) -> bool:
    """Return whether gloo ended the process: its own thread may throw when a peer is gone, which nothing can catch."""
    return process.returncode == -signal.SIGABRT and "gloo::" in process.stderr


def test_the_others_report_a_process_that_ends_and_training_resumes(tmp_path: Path) -> None:
    for attempt in range(3):
        command = [str(TESTS / "train_in_group.py"), str(tmp_path / str(attempt)), "sandwich"]
        first, second = run_group(2, [*command, "5"], tmp_path)
        if not aborted_in_gloo(first):
            break
    assert second.returncode == 9
    assert first.returncode == 1, first.stderr
    assert "another process of the group has ended" in first.stderr
    assert "Traceback" not in first.stderr
    assert [process.returncode for process in run_group(2, command, tmp_path)] == [0, 0]


@pytest.mark.parametrize(
    "asked", [[1], pytest.param([0], marks=pytest.mark.slow), pytest.param([0, 1], marks=pytest.mark.slow)]
)
def test_a_group_with_a_process_asked_to_end_writes_a_checkpoint_and_resumes(asked: list[int], tmp_path: Path) -> None:
    command = [str(TESTS / "train_in_group.py"), str(tmp_path / "run"), "sandwich"]
    # It sleeps from step 5 on, so that the signal arrives during training.
    started = start_group(2, [*command, "5", "sleep"], tmp_path)
    log = tmp_path / "run" / "training.jsonl"
    while all(process.poll() is None for process in started) and not (log.exists() and len(read_jsonl(log)) > 4):
        time.sleep(0.02)
    for rank in asked:
        started[rank].send_signal(signal.SIGTERM)
    ended = wait_for(started)
    assert [process.returncode for process in ended] == [143, 143], ended[0].stderr + ended[1].stderr
    assert (tmp_path / "run" / FILE_NAME).exists()
    assert [process.returncode for process in run_group(2, command, tmp_path)] == [0, 0]
    straight = tmp_path / "straight"
    assert [process.returncode for process in run_group(2, [command[0], str(straight), "sandwich"], tmp_path)] == [0, 0]
    cut, whole = (safetensors.torch.load_file(folder / FILE_NAME) for folder in (tmp_path / "run", straight))
    torch.testing.assert_close(cut, whole, rtol=0, atol=1e-12)


def test_the_command_trains_in_a_group_and_one_process_writes(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    (tmp_path / "small.yaml").write_text(SMALL_CONFIG.replace("epochs: 3", "epochs: 1"))
    command = ["-m", "edgenas", "train", "small.yaml", "--json"]
    first, second = run_group(2, command, tmp_path)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert '"train_seconds"' in first.stdout
    assert second.stdout == ""
    result = read_json(tmp_path / "runs" / "small" / "supernet" / "result.json")
    assert result["images_per_second"] > 0
    rows = read_jsonl(tmp_path / "runs" / "small" / "supernet" / "training.jsonl")
    steps = [row["step"] for row in rows if row["kind"] == "step"]
    assert steps == list(range(len(steps)))
    # No process trains again once training is finished.
    again = run_group(2, ["-m", "edgenas", "train", "runs/small", "--json"], tmp_path)
    assert [process.returncode for process in again] == [0, 0], again[0].stderr


def test_a_group_trains_one_pool_once_latencies_are_known(tmp_path: Path) -> None:
    (tmp_path / "tiny-16.yaml").write_text(SMALL_SPACE)
    within = SMALL_CONFIG.replace("recipe: sandwich, epochs: 3", "epochs: 1") + "budgets: [macs=0.25M]\n"
    (tmp_path / "small.yaml").write_text(within)
    early = run_group(2, ["-m", "edgenas", "train", "small.yaml"], tmp_path)
    assert [process.returncode for process in early] == [2, 2], early[0].stderr
    assert "edgenas profile runs/small" in early[0].stderr
    assert edgenas("profile", "runs/small", cwd=tmp_path).returncode == 0
    done = run_group(2, ["-m", "edgenas", "train", "runs/small"], tmp_path)
    assert [process.returncode for process in done] == [0, 0], done[0].stderr
    run = open_run(tmp_path / "runs/small")
    assert run.done("train")
    pool = training_pool(run).archs()
    assert pool is not None
    assert run.space.largest not in pool


@pytest.mark.parametrize("count", [2, 3, 4])
def test_shares_are_a_division_of_the_batch_and_of_its_augmentation(count: int) -> None:
    indices = np.arange(12)
    shares = [Processes(rank, count).share(indices) for rank in range(count)]
    assert sorted(np.concatenate(shares).tolist()) == indices.tolist()
    images = torch.randint(0, 256, (12, 1, 9, 9), dtype=torch.uint8)
    settings = AugmentConfig(shift=0.3, flip=True)
    whole = augment(images, settings, torch.Generator().manual_seed(3))
    for rank, share in enumerate(shares):
        augmented = augment(images[share], settings, torch.Generator().manual_seed(3), Processes(rank, count))
        assert torch.equal(augmented, whole[share])


@pytest.mark.parametrize("batch_size", [9, 2])
def test_a_batch_that_cannot_be_shared_evenly_is_refused(batch_size: int) -> None:
    Processes(0, 2).check_batch(8)
    with pytest.raises(ConfigError, match=rf"batch_size is {batch_size}, for 2 processes: expected a multiple"):
        Processes(0, 2).check_batch(batch_size)
