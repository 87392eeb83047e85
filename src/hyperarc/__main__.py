"""``python -m hyperarc`` is the ``hyperarc`` command."""

from hyperarc.cli import main

if __name__ == "__main__":
    main()
