"""`python -m edgenas` is `edgenas`."""

from edgenas.environment import ignore_working_folder

# Before anything else is imported: the folder may hold a random.py of the user's.
ignore_working_folder()

from edgenas.cli import main  # noqa: E402

main()
