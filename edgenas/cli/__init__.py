"""The command line: thin commands. Read a config, call one function, print a summary.

Results go to standard output, everything else to standard error. Exit codes: see `edgenas.exits`.
"""

from __future__ import annotations

from edgenas.environment import ignore_working_folder, use_own_caches
from edgenas.exits import check_working_folder, exit_codes


def main() -> None:
    """Entry point: run a command; say what went wrong in one message and exit with the right code.

    Usage errors are typer's own to report, with exit code 2.
    """
    ignore_working_folder()
    use_own_caches()
    with exit_codes():
        check_working_folder()
        # Imported here, so that Ctrl-C while the commands are being loaded is no traceback either.
        from edgenas.cli.commands import app

        app()
