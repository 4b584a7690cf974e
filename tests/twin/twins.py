"""Both twins, running: the proxy, and Envoy with the bootstrap that is made of the same file, before the service."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

import yaml

from ratelimitd.cli.bootstrap import BootstrapOptions, make
from testkit.envoy import envoy
from tests.gateway_process import gateway
from tests.service import service

SHOWN = (b"x-ratelimit-limit", b"x-ratelimit-remaining", b"x-ratelimit-reset")


@asynccontextmanager
async def twins(file, policy, folder, envs):
    """Run both, each with its own environment; yields the two URLs."""
    async with AsyncExitStack() as stack:
        proxy, url = await asyncio.gather(
            stack.enter_async_context(gateway("--config", str(file), env=envs[0])),
            _envoy(file, policy, folder, envs[1], stack),
        )
        yield f"http://{proxy.proxy}", url


async def _envoy(file, policy, folder, env, stack):
    running = await stack.enter_async_context(service("--config", str(policy), env=env))
    host, _, port = running.grpc.rpartition(":")
    made = make(str(file), BootstrapOptions(rls=(host, int(port)), admin=0, timeout=5.0))
    return (await stack.enter_async_context(envoy(yaml.safe_load(made.text), folder))).url


async def send(url, method, target, headers, sender):
    """Send one request from an address; returns the status, and the three headers of limits."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), local_addr=(sender, 0))
    lines = dict([("Host", "example.org"), *(pair for pair in headers if pair[0] == "Host")]).items()
    lines = [*lines, *(pair for pair in headers if pair[0] != "Host"), ("Connection", "close")]
    head = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in lines), "", ""]
    writer.write("\r\n".join(head).encode("latin-1"))
    answer = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    writer.close()
    await writer.wait_closed()
    fields = dict(line.lower().split(b": ", 1) for line in answer[1:] if b": " in line)
    return int(answer[0].split()[1]), *(fields.get(name, b"").decode() for name in SHOWN)


async def ask(urls, requests):
    """Send each request to both at once, one after the other; returns the pairs of answers and the longest time.

    Counters of the two begin at most that time apart, so what they say of time differs by no more, on any machine.
    """
    pairs, longest = [], 0.0
    for request in requests:
        begun = monotonic()
        pairs.append(await asyncio.gather(*(send(url, *request) for url in urls)))
        longest = max(longest, monotonic() - begun)
    return pairs, longest


def differences(requests, answered):
    """The requests that were not answered alike: Reset may differ by a second and twice the longest time of a pair."""
    pairs, longest = answered
    return [
        (request, one, other)
        for request, (one, other) in zip(requests, pairs, strict=True)
        if one[:3] != other[:3] or abs(int(one[3] or 0) - int(other[3] or 0)) > 1 + 2 * longest
    ]
