"""Signals that come in the middle of something."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from halves import CONFIG, STEPS, train

from edgenas.errors import Stopped
from edgenas.files import read_jsonl
from edgenas.training import training_loop as loop
from edgenas.training.interruption import Held


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    """As the command line has it."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def ask() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def held(work: Callable[[Held], object]) -> None:
    with Held() as held:
        work(held)


def test_a_signal_waits_until_the_end_and_a_second_one_does_not() -> None:
    done: list[object] = []

    def once(held: Held) -> None:
        ask()
        done.append(held.number)

    def twice(_: Held) -> None:
        ask()
        ask()
        done.append("not reached")

    for work in (once, twice):
        with pytest.raises(Stopped):
            held(work)
    assert done == [signal.SIGTERM]


def test_where_it_may_pass_a_signal_does_not_wait() -> None:
    done: list[object] = []

    def passing(held: Held) -> None:
        with held.passing():
            done.append("passing")
            ask()
            done.append("not reached")

    def passing_late(held: Held) -> None:
        ask()
        with held.passing():
            done.append("not reached")

    for work in (passing, passing_late):
        with pytest.raises(Stopped):
            held(work)
    assert done == ["passing"]


def test_afterwards_and_beside_errors_signals_are_handled_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    held(lambda held: None)

    def failing(_: Held) -> None:
        ask()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        held(failing)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_the_process_is_to_ignore_stays_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with Held() as held:
        ask()
        assert held.number is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.mark.parametrize("when", ["step", "validation"])
@pytest.mark.parametrize("at", [1, 3, STEPS])
def test_a_signal_leaves_a_checkpoint_that_training_goes_on_from_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str, at: int
) -> None:
    config = CONFIG.model_copy(update={"validations": 6, "patience": 9, "average": 0.9})
    straight = train(tmp_path / "straight", config)
    calls = []

    def asking(work: Callable[..., object]) -> Callable[..., object]:
        def asked(*arguments: object) -> object:
            calls.append(1)
            if len(calls) == at:
                ask()
            return work(*arguments)

        return asked

    # There is one of each a step.
    place, name = (loop, "validate") if when == "validation" else (loop.Course, "step")
    with monkeypatch.context() as patched:
        patched.setattr(place, name, asking(getattr(place, name)))
        with pytest.raises(Stopped):
            train(tmp_path / "cut", config)
    told: list[int] = []
    resumed = train(tmp_path / "cut", config, lambda _, done, total: told.append(done))
    torch.testing.assert_close(resumed, straight, rtol=0, atol=0)
    rows = [
        {row["step"]: row["top1"] for row in read_jsonl(tmp_path / name / "training.jsonl") if "top1" in row}
        for name in ("cut", "straight")
    ]
    assert rows[0] == rows[1]
    # No step is done twice; one whose validation was interrupted owes only that.
    if at < STEPS:
        assert told == list(range(at, STEPS + 1))


def test_a_stop_without_a_signal_of_ones_own_is_one_too() -> None:
    with pytest.raises(Stopped):
        held(lambda held: held.stop())
