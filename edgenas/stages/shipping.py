"""Shipping: candidates are fine-tuned, exported and timed one after another, until a file is within every budget.

The network was chosen on other measurements. Each file is timed in new processes, and only `within` counts as met: of
the candidates, at most `verify.attempts` are tried, in the order that `verify` fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import InfeasibleError
from edgenas.profiling.session import discount
from edgenas.progress import Progress
from edgenas.records.export import Attempt
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.record import Verdict
from edgenas.records.verify import VerifyRecord
from edgenas.runs.measuring_sessions import MeasuringSessions
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.bundle_latency import judged_latency
from edgenas.stages.bundle_network import BundleOptions
from edgenas.stages.bundling import Prepared, prepare
from edgenas.stages.finetune import finetuned

ROWS = "export/measured"
"""Folder of the timer's rows of the files that were tried."""
WORDS: Mapping[Verdict, str] = {
    "within": "within its budget",
    "not significant": "not significantly within its budget",
    "over": "over its budget",
}


@dataclass(frozen=True)
class Shipped:
    """The files that ship, and all attempts, in their order."""

    prepared: Prepared
    attempts: tuple[Attempt, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """The results of candidates that were tried and did not ship, a sentence each."""
        return tuple(
            f"{attempt.arch.id} was tried as well: when its file was timed again, it was {WORDS[attempt.verdict]}"
            for attempt in self.attempts
            if attempt.arch != self.prepared.network.arch and attempt.verdict is not None
        )


def ship(run: Run, options: BundleOptions, folder: Path, progress: Progress) -> Shipped:
    """Return the first candidate's files that are within every budget; else the first that are not over any.

    Args:
        run: verified, and the first candidate fine-tuned where the config asks for it.
        options: options of the files.
        folder: files are written there.
        progress: called with the current step, steps done and in all.

    Raises:
        InfeasibleError: every file that was tried is over a budget.
        ParityError, DataError, MeasurementError: see `prepare`.
    """
    candidates = run.result(VerifyRecord).candidates[: run.config.verify.attempts]
    tried: list[Prepared] = []

    def verdict(number: int) -> Verdict | None:
        _tune(run, candidates[number], progress)
        prepared = prepare(run, candidates[number], options, folder / str(number), run.folder / ROWS, progress)
        tried.append(prepared)
        return prepared.verdict

    index = first_to_ship(verdict, len(candidates))
    attempts = tuple(_attempt(prepared) for prepared in tried)
    if index is None:
        _discount(run, len(attempts))
        raise InfeasibleError(_all_over(attempts))
    _tune(run, candidates[index], progress)
    return Shipped(tried[index], attempts)


def first_to_ship(verdict: Callable[[int], Verdict | None], candidates: int) -> int | None:
    """Judge candidates in their order, none after one that is within; return the number of the one that ships.

    That is the one that is within, else the first that is not significant; None where all are over.
    """
    verdicts: list[Verdict | None] = []
    for number in range(candidates):
        verdicts.append(verdict(number))
        if verdicts[-1] in ("within", None):
            return number
    return verdicts.index("not significant") if "not significant" in verdicts else None


def _tune(run: Run, arch: Arch, progress: Progress) -> None:
    """Fine-tune a candidate where the run does, and write its record as the stage's result."""
    if run.lacks("finetune") is not None:
        return
    if run.result(FinetuneRecord).arch != arch:
        finetuned(run, arch, progress).write(run.result_path("finetune"))


def _attempt(prepared: Prepared) -> Attempt:
    latency = {name: judged_latency(prepared.network, name, session) for name, session in prepared.timed.items()}
    return Attempt(arch=prepared.network.arch, verdict=prepared.verdict, latency=latency)


def _discount(run: Run, attempts: int) -> None:
    """Discard the measured rows and their sessions: the same command measures again, on a quieter machine perhaps."""
    for name, device in run.devices.measured.items():
        MeasuringSessions(run.folder).withdraw(name, attempts)
        discount(run.folder / ROWS / f"{name}.jsonl", device)


def _all_over(attempts: Sequence[Attempt]) -> str:
    lines = [f"  {attempt.arch.id}: {_over(attempt)}" for attempt in attempts]
    return (
        f"the files of all {len(attempts)} networks that were tried are over a budget, measured in new processes:\n"
        + "\n".join(lines)
        + "\nNo bundle was written. Start a run with a looser budget, raise verify.attempts, or measure again on a "
        "quieter machine: `edgenas export` does."
    )


def _over(attempt: Attempt) -> str:
    return "; ".join(
        f"{judged.value_us / 1e3:.3f} ms {judged.limited} on {name}, the limit is {judged.limit_us / 1e3:.3f} ms"
        for name, judged in attempt.latency.items()
        if judged.verdict == "over" and judged.value_us is not None and judged.limit_us is not None
    )
