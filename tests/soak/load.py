"""The load of a soak: a hot key, keys that nobody used before, and every failure policy."""

import asyncio
import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import grpc.aio

from ratelimitd.proto import message
from testkit.server import METHOD

UNIQUE: Final = 32
"""Descriptors of a request that carry a key never used before."""

COST: Final = 30
"""Hits of a report, of an answer that is paid for afterwards."""

ALLOWED: Final = (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
"""UNAVAILABLE is what ``on_store_failure: error`` says; whatever else a call came to is a fault of ours."""

POLICY: Final = """\
domain: soak
descriptors:
  - key: hot
    rate_limit: {{unit: second, requests_per_unit: {limit}, algorithm: token_bucket}}
    on_store_failure: local
  - {{key: error, rate_limit: {{unit: minute, requests_per_unit: 60, algorithm: sliding_window}}}}
  - {{key: allow, rate_limit: {{unit: second, requests_per_unit: 10}}, on_store_failure: allow}}
  - {{key: deny, rate_limit: {{unit: hour, requests_per_unit: 9, algorithm: gcra}}, on_store_failure: deny}}
  - {{key: budget, rate_limit: {{unit: hour, requests_per_unit: 20000, algorithm: token_bucket, charge: after}}}}
  - key: unique
    detailed_metric: true
    rate_limit: {{unit: hour, requests_per_unit: 5, algorithm: gcra}}
    on_store_failure: local
"""

REQUEST = message("envoy.service.ratelimit.v3.RateLimitRequest")
RESPONSE = message("envoy.service.ratelimit.v3.RateLimitResponse")


@dataclass
class Seen:
    """What calls came to.

    Attributes:
        codes: gRPC statuses by name.
        odd: what no caller should have met, the first few of each kind.
        unique: keys used once.
        reported: reports that were answered.
        took: (seconds since the start, seconds it took) of the slowest call of each tenth of a second.
    """

    began: float
    codes: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    unique: int = 0
    reported: int = 0
    took: dict[int, float] = field(default_factory=dict)

    @property
    def calls(self):
        """All of them."""
        return sum(self.codes.values())

    def note(self, code, details, seconds):
        """Count a call."""
        self.codes[code.name] += 1
        if code not in ALLOWED:
            self.odd[f"{code.name}: {details}"] += 1
        tenth = int((time.monotonic() - self.began) * 10)
        self.took[tenth] = max(self.took.get(tenth, 0.0), seconds)


async def work(address, seen, number, pause):
    """Call until cancelled, a moment's ``pause`` (seconds) between two calls."""
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(METHOD)
        for turn in itertools.count():
            body, wanted, reports = request(number, turn)
            seen.unique += UNIQUE * (turn % 4 == 0)
            began = time.monotonic()
            try:
                answer = RESPONSE.FromString(await call(body, timeout=10))
            except grpc.aio.AioRpcError as error:
                seen.note(error.code(), str(error.details()), time.monotonic() - began)
            else:
                seen.note(grpc.StatusCode.OK, "", time.monotonic() - began)
                for problem in wrong(answer, wanted):
                    seen.odd[problem] += 1
            seen.reported += reports
            await asyncio.sleep(pause)


def request(number, turn):
    """Return a call's bytes, how many descriptors it has, and whether one is a report.

    Each fourth call brings new keys; of each eight one asks for a budget, and one reports a cost.
    """
    built, reports = REQUEST(domain="soak"), turn % 8 == 6
    if turn % 4 == 0:
        for each in range(UNIQUE):
            built.descriptors.add().entries.add(key="unique", value=f"{number}-{turn}-{each}")
    else:
        for key in ("hot", ("error", "allow", "deny")[turn % 4 - 1]):
            built.descriptors.add().entries.add(key=key, value=f"v{turn % 50}")
    if turn % 4 == 2:
        descriptor = built.descriptors.add()
        descriptor.entries.add(key="budget", value="one")
        descriptor.hits_addend.value = COST if reports else 0
    return built.SerializeToString(), len(built.descriptors), reports


def wrong(answer, wanted):
    """Return what is wrong with an answer, whatever the state of Redis."""
    found = []
    if len(answer.statuses) != wanted:
        found.append(f"{len(answer.statuses)} statuses for {wanted} descriptors")
    if answer.overall_code not in (1, 2):
        found.append(f"overall code {answer.overall_code}")
    return found
