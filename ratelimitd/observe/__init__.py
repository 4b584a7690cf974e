"""Logs, metrics and the state of the event loop. It has no face: each module is imported by its name."""

import sys

if "rich" not in sys.modules:
    # structlog imports rich wherever it is installed, to color tracebacks: 5 MiB that a service has no use for.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
