"""Signals that arrive during work."""

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
from edgenas.training.interruption import DeferredSignals

VALIDATED = CONFIG.model_copy(update={"validations": 6, "patience": 9, "average": 0.9})
"""A validation after each step."""


@pytest.fixture(autouse=True)
def _handled() -> Iterator[None]:
    """Handle SIGTERM as the command line does."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def deferred(work: Callable[[DeferredSignals], object]) -> None:
    with DeferredSignals() as signals:
        work(signals)


def test_a_signal_is_deferred_to_the_end_and_a_second_one_is_not() -> None:
    done: list[object] = []

    def once(signals: DeferredSignals) -> None:
        terminate()
        done.append(signals.number)

    def twice(_: DeferredSignals) -> None:
        terminate()
        terminate()
        done.append("not reached")

    for work in (once, twice):
        with pytest.raises(Stopped):
            deferred(work)
    assert done == [signal.SIGTERM]


def test_in_the_inner_context_signals_are_delivered_at_once() -> None:
    done: list[object] = []

    def inside(signals: DeferredSignals) -> None:
        with signals.delivered():
            done.append("inside")
            terminate()
            done.append("not reached")

    def before(signals: DeferredSignals) -> None:
        terminate()
        with signals.delivered():
            done.append("not reached")

    for work in (inside, before):
        with pytest.raises(Stopped):
            deferred(work)
    assert done == ["inside"]


def test_afterwards_and_beside_errors_signals_are_handled_as_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    deferred(lambda signals: None)

    def failing(_: DeferredSignals) -> None:
        terminate()
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        deferred(failing)
    assert signal.getsignal(signal.SIGTERM) is before


def test_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with DeferredSignals() as signals:
        terminate()
        assert signals.number is None
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, torch.Tensor], Path]:
    """The weights of an undisturbed training, and its folder."""
    folder = tmp_path_factory.mktemp("straight")
    return train(folder, VALIDATED), folder


@pytest.mark.parametrize("when", ["step", "validation"])
@pytest.mark.parametrize("at", [1, 3, STEPS])
def test_training_resumes_bit_for_bit_from_the_checkpoint_of_a_signal(
    straight: tuple[dict[str, torch.Tensor], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: str,
    at: int,
) -> None:
    weights, folder = straight
    calls = []

    def interrupting(work: Callable[..., object]) -> Callable[..., object]:
        def interrupted(*arguments: object) -> object:
            calls.append(1)
            if len(calls) == at:
                terminate()
            return work(*arguments)

        return interrupted

    # Both are called once a step.
    owner, name = (loop, "validate") if when == "validation" else (loop.Trainer, "step")
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupting(getattr(owner, name)))
        with pytest.raises(Stopped):
            train(tmp_path, VALIDATED)
    steps: list[int] = []
    resumed = train(tmp_path, VALIDATED, lambda _, done, total: steps.append(done))
    torch.testing.assert_close(resumed, weights, rtol=0, atol=0)
    rows = [
        {row["step"]: row["top1"] for row in read_jsonl(trained / "training.jsonl") if "top1" in row}
        for trained in (tmp_path, folder)
    ]
    assert rows[0] == rows[1]
    # No step is done twice; after an interrupted validation, only that is repeated.
    if at < STEPS:
        assert steps == list(range(at, STEPS + 1))


def test_stop_raises_without_a_deferred_signal() -> None:
    with pytest.raises(Stopped):
        deferred(lambda signals: signals.stop())
