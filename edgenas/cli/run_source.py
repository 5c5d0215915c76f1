"""What a command starts or resumes a run from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgenas.cli.options import Output
from edgenas.errors import ConfigError, RunFolderError
from edgenas.files import prove_file, user_path

if TYPE_CHECKING:
    # Importing them takes longer than `--help` should.
    from edgenas.config.run_config import RunConfig
    from edgenas.profiling.transport_registry import TransportRegistry
    from edgenas.runs.run import Run

RUNS = Path("runs")


def build_reach(on: list[str] | None, pack: Path | None, unpack: Path | None) -> TransportRegistry:
    """Return the transports with the options --on, --pack and --unpack."""
    from edgenas.profiling.transport_registry import mounted_transports

    if pack:
        prove_file(user_path(pack))
    return mounted_transports().with_options(on or [], pack and user_path(pack), unpack and user_path(unpack))


def check_train_minutes(config: RunConfig, minutes: float | None) -> None:
    """Refuse `--train-minutes` in a run that trains no supernet, or whose whole time is given.

    Raises:
        ConfigError: the run reads accuracies from a file, or has `minutes`.
    """
    if minutes is not None and config.minutes is not None:
        raise ConfigError(f"--train-minutes: the whole run has --minutes {config.minutes:g}: leave one of them out")
    if minutes is not None and config.accuracy is not None:
        raise ConfigError("--train-minutes: a run with `accuracy` trains no supernet: leave it out")


@dataclass(frozen=True)
class RunSource:
    """A config with options that override it, or a run folder, which takes no such options.

    Attributes:
        target: the config file or the run folder.
        budget: values of --budget.
        sets: values of --set.
        folder: value of --run; None for the default.
        output: what the command prints.
        reach: transports, as the command states them.
    """

    target: Path
    budget: list[str] | None
    sets: list[str] | None
    folder: Path | None
    output: Output
    reach: TransportRegistry

    def resumed(self) -> Run | None:
        """Return the run of a run folder; None if the target is a config.

        Raises:
            RunFolderError: a run folder was given with options that need a config.
        """
        if not self.target.is_dir():
            return None
        if self.budget or self.sets or self.folder:
            options = "--set, --budget, --initial, --minutes, --device-minutes and --run"
            raise RunFolderError(f"{self.target} is a run folder with a fixed config: {options} need a config file")
        from edgenas.runs.run import open_run

        return open_run(self.target, self.reach)

    def config(self) -> RunConfig:
        """Read the config file, overridden by options."""
        from edgenas.config.reading import load_config

        overrides = list(self.sets or [])
        if self.budget:
            overrides.append(f"budgets={json.dumps(self.budget)}")
        return load_config(self.target, overrides)

    def run_folder(self, config: RunConfig) -> Path:
        """Return the folder of a run that a config starts."""
        return self.folder or RUNS / config.name

    def start(self, config: RunConfig) -> Run:
        """Open the run folder of a config."""
        from edgenas.display import ProgressDisplay
        from edgenas.stages.start import start_run

        with ProgressDisplay(quiet=self.output.quiet) as progress:
            return start_run(config, self.run_folder(config), progress, self.reach)

    def open(self, minutes: float | None = None) -> Run:
        """Return the run, resumed or started.

        Args:
            minutes: value of --train-minutes.

        Raises:
            RunFolderError: a run folder was given with options that need a config.
            ConfigError: the options do not fit the config.
        """
        run = self.resumed()
        config = run.config if run else self.config()
        check_train_minutes(config, minutes)
        return run or self.start(config)
