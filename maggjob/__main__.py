"""Run the command line with ``python -m maggjob``."""

from maggjob.cli.commands import main

if __name__ == "__main__":
    main()
