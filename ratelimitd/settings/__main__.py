"""Print docs/settings.md."""

import sys

from ratelimitd.settings.docs import page

if __name__ == "__main__":
    sys.stdout.write(page())
