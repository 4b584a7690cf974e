"""Logs, metrics and the state of the event loop. The package exports nothing: import its modules directly."""

import sys

if "rich" not in sys.modules:
    # structlog imports rich if it is installed, to color tracebacks: 5 MiB that a service does not need.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
