"""``python -m hyperarc`` is the ``hyperarc`` command."""

from hyperarc.cli import main

main()
