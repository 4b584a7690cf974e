"""Run a scenario in namespaces of its own: ``python -m tests.migrating.inside MODULE SCENARIO FOLDER``."""

import asyncio
import importlib
import sys
from pathlib import Path

from testkit.pasted import loopback
from testkit.pod import add_address

DEPLOYMENTS = ("envoy_gateway", "istio", "agent_router", "plain")


def scenarios():
    """Return (module, scenario) of each."""
    modules = [(name, importlib.import_module(f"tests.migrating.{name}")) for name in DEPLOYMENTS]
    return [(name, scenario.__name__) for name, module in modules for scenario in module.SCENARIOS]


def main(name, scenario, folder):
    """Run one, in a folder that is empty."""
    loopback()
    add_address()
    module = importlib.import_module(f"tests.migrating.{name}")
    asyncio.run(getattr(module, scenario)(Path(folder)))


if __name__ == "__main__":
    main(*sys.argv[1:])
