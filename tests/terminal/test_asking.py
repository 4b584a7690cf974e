"""What is said when a service has no documents, each with what to do."""

import asyncio
import socket
from contextlib import ExitStack

import pytest

from ratelimitd.admin.http import PageResponse
from ratelimitd.http1 import Endpoint
from ratelimitd.terminal import LiveError, Source
from ratelimitd.terminal.asking import decisions, document
from tests.terminal.serving import live


def source(service):
    host, _, port = service.address.rpartition(":")
    return Source(Endpoint(host, int(port)))


async def asked(source):
    await document(source, "overview", {})


async def streamed(source):
    async for _ in decisions(source, {}):
        pass


@pytest.mark.parametrize("ask", [asked, streamed])
@pytest.mark.parametrize(
    ("status", "said", "passing"),
    [
        (400, "sort is one of", False),
        (401, "ADMIN_TOKEN or ADMIN_TOKEN_FILE", False),
        (403, "kubectl port-forward", False),
        (404, "set LIVE_MAX_BYTES", False),
        (421, "--address localhost:PORT", False),
        (429, "wait", True),
        (503, "later", True),
    ],
)
async def test_a_status_says_what_to_do(ask, status, said, passing):
    """In the words of the service, and in ours where it cannot know."""
    body = b'{"error": "sort is one of denied; set LIVE_MAX_BYTES; later"}'
    answer = PageResponse(status, body)
    async with live(overview=answer, decisions=answer) as service:
        with pytest.raises(LiveError, match=said) as error:
            await ask(source(service))
    assert (error.value.passing, f"{service.address} answered {status}" in str(error.value)) == (passing, True)


async def test_all_replicas_without_the_token_are_told_of_it():
    """And of nothing that would not help."""
    body = b'{"error": "hashes differ; send the admin token, or set the same IDENTITY_SECRET for all replicas"}'
    async with live(overview=PageResponse(403, body)) as service:
        with pytest.raises(LiveError, match="set ADMIN_TOKEN or ADMIN_TOKEN_FILE") as error:
            await asked(source(service))
    assert "port-forward" not in str(error.value)


@pytest.mark.parametrize("ask", [asked, streamed])
async def test_where_nothing_listens_it_says_which_port_is_meant(ask):
    """And how to reach it in a cluster."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    with pytest.raises(LiveError, match=rf"127.0.0.1:{port}.*debug port.*kubectl port-forward"):
        await ask(Source(Endpoint("127.0.0.1", port)))


@pytest.mark.parametrize("ask", [asked, streamed])
@pytest.mark.parametrize(
    "answer",
    [
        PageResponse(404, b"404 page not found\n"),
        PageResponse(200, b"event: x\ndata: <html>\n\n"),
        PageResponse(200, b"[" * 100_000),
    ],
)
async def test_another_server_is_told_from_a_service(ask, answer):
    """Whatever it answers, it is an error and no traceback."""
    async with live(overview=answer, decisions=answer) as service:
        with pytest.raises(LiveError, match=r"is not the debug port of ratelimitd|ended the stream"):
            await ask(source(service))


@pytest.mark.parametrize("ask", [asked, streamed])
async def test_a_service_that_cannot_be_reached_ends_the_wait(ask):
    """Where packets are dropped, the time of the caller holds for the connection too, and not only that of TCP."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = full.getsockname()
        for _ in range(4):  # of which the backlog has room for one or two
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        with pytest.raises(LiveError, match=str(address[1])):
            async with asyncio.timeout(30):  # TCP gives up after two minutes
                await ask(Source(Endpoint(*address), seconds=0.2))


async def test_documents_of_another_version_are_refused():
    """With the version to use."""
    async with live(overview={"version": 2}) as service:
        with pytest.raises(LiveError, match=r"version 2 .* reads 1: use the program"):
            await asked(source(service))


async def test_events_without_an_end_are_not_held():
    """An event over the bound is an error, however small its lines are."""

    async def endless():
        for _ in range(100):  # six times the bound
            yield b"data:\n" * 10_000

    async with live(decisions=PageResponse(200, endless(), "text/event-stream")) as service:
        with pytest.raises(LiveError, match="an event is too large"):
            await streamed(source(service))
