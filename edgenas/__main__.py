"""`python -m edgenas` is `edgenas`."""

from edgenas.cli import main

main()
