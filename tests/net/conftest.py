"""Connections are made on both event loops."""

import asyncio

import uvloop


def pytest_asyncio_loop_factories(config, item):
    """The event loop of asyncio; for ``connect`` also the one of the service, which connects by other means."""
    own = {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop, **own} if item.path.name == "test_connect.py" else own
