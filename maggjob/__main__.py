"""``python -m maggjob``."""

from maggjob.cli import main

if __name__ == "__main__":
    main()
