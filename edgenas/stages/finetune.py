"""Stage finetune: networks are trained on their own before one is exported, perhaps on other images."""

from __future__ import annotations

from edgenas.progress import Progress
from edgenas.records.finetune import FinetuneRecord
from edgenas.runs.run import Run
from edgenas.stages.tuning.halving import halve
from edgenas.stages.weights.tuner import finetuned


def finetune_networks(run: Run, progress: Progress) -> FinetuneRecord:
    """Fine-tune the chosen subnet, see `finetuned`; or several candidates, of which the best is returned, see `halve`.

    Raises:
        RunFolderError, DataError, EdgenasError: see `finetuned`.
    """
    return halve(run, progress) if run.config.halves else finetuned(run, run.chosen, progress)
