"""``python -m ratelimitd`` is ``ratelimitd``."""

from ratelimitd.cli import main

if __name__ == "__main__":
    main(prog_name="ratelimitd")
