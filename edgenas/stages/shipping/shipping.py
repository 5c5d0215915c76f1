"""Shipping: candidates are fine-tuned, exported and timed one after another, until a file is within every budget.

The network was chosen on other measurements. Each file is timed in new processes, and only `within` counts as met. At
most `verify.attempts` candidates are tried, in the order that `verify` fixed. Where several were fine-tuned, these are
tried first, by validation accuracy; if none of them ships, as many of `verify` follow, whose files were measured. A
candidate whose file computes something else than its network, or loses too much accuracy in int8, is refused without
timing, which is an attempt as well.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from edgenas.errors import InfeasibleError, ParityError
from edgenas.progress import Progress
from edgenas.records.export import Attempt
from edgenas.records.finetune import FinetuneRecord
from edgenas.records.record import Verdict
from edgenas.records.verify import VerifyRecord
from edgenas.runs.measuring_sessions import MeasuringSessions
from edgenas.runs.run import Run
from edgenas.space.arch import Arch
from edgenas.stages.shipping.bundle_files import Prepared
from edgenas.stages.shipping.bundle_network import BundleOptions
from edgenas.stages.shipping.bundling import prepare
from edgenas.stages.weights.tuned_network import halving_record
from edgenas.stages.weights.tuner import finetuned

LOGGER = logging.getLogger(__name__)
ROWS = "export/measured"
"""Folder of the timer's rows of the files that were tried."""
MET: Set[Verdict | None] = frozenset({"within", None})
"""Verdicts after which no further candidate is tried; None where no latency is limited."""
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
        others = [attempt for attempt in self.attempts if attempt.arch != self.prepared.network.arch]
        return tuple(filter(None, map(_note, others)))


def ship(run: Run, verified: VerifyRecord, options: BundleOptions, folder: Path, progress: Progress) -> Shipped:
    """Return the first candidate's files that are within every budget; else the first that are not over any.

    Args:
        run: the run, its first candidate fine-tuned where the config asks for it.
        verified: its candidates.
        options: options of the files.
        folder: files are written there.
        progress: called with the current step, steps done and in all.

    Raises:
        InfeasibleError: every file that was timed is over a budget.
        ParityError: the files of all candidates that were tried are refused.
        DataError, MeasurementError: see `prepare`.
    """
    attempts: list[Attempt] = []
    timed: list[Prepared] = []
    index: int | None = None
    for archs in _candidates(run, verified):
        for arch in archs:
            attempt, prepared = _attempt(run, arch, options, folder / str(len(attempts)), progress)
            attempts.append(attempt)
            if prepared is not None:
                timed.append(prepared)
                if prepared.verdict in MET:
                    break
        index = first_to_ship([prepared.verdict for prepared in timed])
        if index is not None:
            break
    if index is None:
        MeasuringSessions(run.folder).measure_again(run.devices.measured, run.folder / ROWS, withdrawn=len(timed))
        raise _nothing_to_ship(attempts)
    _tune(run, timed[index].network.arch, progress)
    return Shipped(timed[index], tuple(attempts))


def _candidates(run: Run, verified: VerifyRecord) -> list[Sequence[Arch]]:
    """Return the networks in the order in which they are tried, in groups: the next one if none of the first ships.

    Fine-tuned candidates are ranked without int8, and some devices were not in reach to time them. Those of `verify`
    were measured in the precision that ships, so they follow.
    """
    halving, most = halving_record(run), run.config.verify.attempts
    if halving is None:
        return [list(dict.fromkeys([run.first_candidate, *verified.candidates]))[:most]]
    tuned = [score.arch for score in halving.order][:most]
    return [tuned, [arch for arch in verified.candidates if arch not in tuned][:most]]


def _attempt(
    run: Run, arch: Arch, options: BundleOptions, folder: Path, progress: Progress
) -> tuple[Attempt, Prepared | None]:
    """Fine-tune a candidate, export and time its files; return the files as well, None where they are refused."""
    _tune(run, arch, progress)
    try:
        prepared = prepare(run, arch, options, folder, run.folder / ROWS, progress)
    except ParityError as error:
        LOGGER.warning("note: %s is not shipped: %s", arch, error)
        return Attempt(arch=arch, verdict=None, latency={}, refused=str(error)), None
    return Attempt(arch=arch, verdict=prepared.verdict, latency=dict(prepared.judged)), prepared


def first_to_ship(verdicts: Sequence[Verdict | None]) -> int | None:
    """Return the index of the first file that is within every budget, else of the first that is not over any.

    Args:
        verdicts: verdicts on the files that were timed, in order; None where no latency is limited.

    Returns:
        None where all are over a budget.
    """
    for accepted in (MET, {"not significant"}):
        for index, verdict in enumerate(verdicts):
            if verdict in accepted:
                return index
    return None


def _tune(run: Run, arch: Arch, progress: Progress) -> None:
    """Fine-tune a candidate where the run does, and write its record as the stage's result."""
    if run.lacks("finetune") is not None:
        return
    if run.result(FinetuneRecord).arch != arch:
        finetuned(run, arch, progress).write(run.result_path("finetune"))


def _note(attempt: Attempt) -> str | None:
    if attempt.refused is not None:
        return f"{attempt.arch.id} was tried as well: its file was refused: {attempt.refused}"
    if attempt.verdict is None:
        return None
    return f"{attempt.arch.id} was tried as well: when its file was timed again, it was {WORDS[attempt.verdict]}"


def _nothing_to_ship(attempts: Sequence[Attempt]) -> InfeasibleError | ParityError:
    """Return the error that names every attempt, with the reason why its file does not ship."""
    lines = "\n".join(f"  {attempt.arch.id}: {attempt.refused or _over(attempt)}" for attempt in attempts)
    if all(attempt.refused is not None for attempt in attempts):
        if len(attempts) == 1:
            return ParityError(str(attempts[0].refused))
        return ParityError(
            f"the files of all {len(attempts)} candidates that were tried were refused:\n{lines}\n"
            "No bundle was written. Raise verify.attempts to try further candidates."
        )
    over = "are over a budget, measured in new processes"
    if any(attempt.refused is not None for attempt in attempts):
        over += ", or were refused"
    return InfeasibleError(
        f"the files of all {len(attempts)} networks that were tried {over}:\n{lines}\n"
        "No bundle was written. Start a run with a looser budget, raise verify.attempts, or measure again on a "
        "quieter machine: `edgenas export` does."
    )


def _over(attempt: Attempt) -> str:
    return "; ".join(
        f"{judged.value_us / 1e3:.3f} ms {judged.limited} on {name}, the limit is {judged.limit_us / 1e3:.3f} ms"
        for name, judged in attempt.latency.items()
        if judged.verdict == "over" and judged.value_us is not None and judged.limit_us is not None
    )
