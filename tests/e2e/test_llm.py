"""examples/llm through a real Envoy, with both of its files: what the budgets record is what the model reported."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager, contextmanager

import aiohttp
import pytest

from examples.demo.stage import Ports
from examples.llm.budgets import Budgets
from examples.llm.stage import AI, STABLE, bootstrap
from examples.llm.traffic import COMPLETIONS, Tenant, body
from examples.llm.upstream import FAILING, Model, Server
from testkit.envoy import envoy
from tests.service import service

pytestmark = [pytest.mark.envoy, pytest.mark.process]

TOKEN = "0123456789abcdef"
POLICY = """
domain: llm
default_charge: after
descriptors:
  - key: tenant
    value: small
    descriptors:
      - {key: budget, value: tokens, rate_limit: {unit: year, requests_per_unit: 1}}
      - {key: budget, value: money, rate_limit: {unit: year, requests_per_unit: 1000000000}}
  - key: tenant
    descriptors:
      - {key: budget, value: tokens, rate_limit: {unit: year, requests_per_unit: 1000000, reserve: {}}}
      - {key: budget, value: money, rate_limit: {unit: year, requests_per_unit: 1000000000, reserve: {}}}
"""
SUBSTITUTE = 700, 420_000
"""Tokens and money of an answer without usage, in both files."""


@contextmanager
def language_model(pace):
    """A stand-in for a language model, and its server."""
    model = Model(seed=7, pace=pace)
    with Server(0, model) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield model, server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class Front:
    """A client of Envoy, and the counters behind it."""

    def __init__(self, client, running, model):
        self.client = client
        self.model = model
        self.running = running

    def post(self, tenant="acme", **request):
        return self.client.post(COMPLETIONS, json=body(**request), headers={"X-Tenant": tenant})

    async def settlements(self):
        async with self.client.get(f"http://{self.running.http}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        return sum(int(line.rpartition(" ")[2]) for line in lines if line.startswith("ratelimitd_settlements_total"))

    async def used(self, answers, tenant="acme"):
        """Tokens and money in the counters of a tenant, when that many answers have been reported and hold nothing."""
        async with asyncio.timeout(60):
            while await self.settlements() < answers * 2:
                await asyncio.sleep(0.02)
            while any(budget.held for budget in await self.budgets(tenant)):
                await asyncio.sleep(0.02)
        return tuple(budget.used for budget in await self.budgets(tenant))

    async def budgets(self, tenant="acme"):
        tenants = [Tenant(tenant, budget, "", 1) for budget in ("tokens", "money")]
        return await Budgets(f"http://{self.running.debug}", TOKEN, tenants).read(self.client)


def patient(config):
    """Envoy waits longer for the service than in the example: a call that takes 0.25 s, on a busy machine, is a 500."""
    return json.loads(json.dumps(config).replace('"0.25s"', '"10s"'))


@asynccontextmanager
async def fronted(file, tmp_path, pace=100_000.0):
    (tmp_path / "policy.yaml").write_text(POLICY)
    with language_model(pace) as (model, port):
        async with service("--config", str(tmp_path / "policy.yaml"), env={"ADMIN_TOKEN": TOKEN}) as running:
            ports = Ports(envoy=0, admin=0, upstream=port, grpc=int(running.grpc.rpartition(":")[2]), http=0, debug=0)
            async with (
                envoy(patient(bootstrap(file, ports)), tmp_path) as proxy,
                aiohttp.ClientSession(proxy.url) as client,
            ):
                yield Front(client, running, model)


files = pytest.mark.parametrize("file", [STABLE, AI], ids=["stable", "ai"])


def spent(model, tenant="acme"):
    """Tokens and money of all that the model has reported."""
    counts = model.counts()[tenant]
    return counts["input"] + counts["output"], counts["input"] * 150 + counts["output"] * 600


@files
async def test_the_budgets_record_what_the_model_reported(file, tmp_path):
    """Of answers in JSON and in streams alike, in tokens and in money."""
    async with fronted(file, tmp_path) as front:
        for number in range(6):
            async with front.post(stream=number % 2 == 0) as answer:
                assert answer.status == 200
                await answer.read()
        assert await front.used(6) == spent(front.model)


@files
async def test_an_answer_without_usage_costs_the_substitute(file, tmp_path):
    """A stream that was not asked for its usage, and one that its caller leaves; each holds its part until then."""
    async with fronted(file, tmp_path, pace=200.0) as front:
        async with front.post(stream=True, usage=False) as answer:
            await answer.read()
        assert await front.used(1) == SUBSTITUTE
        async with front.post(stream=True) as answer:
            await answer.content.readline()
            assert [budget.held > 0 for budget in await front.budgets()] == [True, True]
            answer.close()
        assert await front.used(2) == (2 * SUBSTITUTE[0], 2 * SUBSTITUTE[1])


@files
async def test_a_request_without_a_tenant_is_rejected(file, tmp_path):
    """It would have no descriptor, and so no limit."""
    async with fronted(file, tmp_path) as front:
        async with front.client.post(COMPLETIONS, json=body(stream=False)) as answer:
            assert answer.status == 401
        assert front.model.counts() == {}


@files
async def test_an_error_of_the_model_costs_nothing(file, tmp_path):
    """Its report releases what it holds. The answer after it shows that nothing else arrives."""
    async with fronted(file, tmp_path) as front:
        async with front.post(stream=False, model=FAILING) as answer:
            assert answer.status == 503
        async with front.post(stream=False) as answer:
            await answer.read()
        assert await front.used(1) == spent(front.model)


@files
async def test_a_denied_request_costs_nothing(file, tmp_path):
    """Envoy reports its stream too, and what the answer before it has cost stays as it is."""
    async with fronted(file, tmp_path) as front:
        async with front.post("small", stream=True) as answer:
            await answer.read()
        before = await front.used(1, "small")
        async with front.post("small", stream=True) as answer:
            assert answer.status == 429
        async with front.post(stream=False) as answer:
            await answer.read()
        assert await front.used(2, "small") == before == spent(front.model, "small")
