"""Stage finetune: the chosen subnet is trained on its own before it is exported, perhaps on other images."""

from __future__ import annotations

from edgenas.progress import Progress
from edgenas.runs.run import Run
from edgenas.stages.weights.tuned_network import finetuned


def run_finetune(run: Run, progress: Progress) -> None:
    """Fine-tune the chosen subnet, see `finetuned`.

    Raises:
        ConfigError: the config asks for no fine-tuning, or the run has no weights.
        RunFolderError, DataError, EdgenasError: see `finetuned`.
    """
    run.needs("finetune")
    if not run.done("finetune"):
        run.finish(finetuned(run, run.chosen, progress))
