#!/usr/bin/env python3
"""The counters of the tenants' budgets, as the admin API of the service shows them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp

from examples.llm.traffic import Tenant


class Budget(NamedTuple):
    """A budget of one tenant.

    Attributes:
        limit: what its window admits.
        window: seconds.
        used: what its counter holds.
        held: what answers in flight hold of it.
        worst: the highest usage so far.
    """

    limit: int
    window: int
    used: int
    held: int
    worst: int


class Budgets:
    """Reads all budgets, and keeps their highest usage."""

    def __init__(self, url: str, token: str, tenants: Sequence[Tenant]) -> None:
        self._url = url
        self._token = token
        self._tenants = tenants
        self._worst = dict.fromkeys(tenants, 0)

    async def read(self, session: aiohttp.ClientSession) -> list[Budget]:
        """Return the budget of each tenant."""
        return [self._budget(tenant, await self._look(session, tenant)) for tenant in self._tenants]

    async def _look(self, session: aiohttp.ClientSession, tenant: Tenant) -> dict[str, Any]:
        query = {"domain": "llm", "descriptor": f"tenant={tenant.name},budget={tenant.budget}"}
        headers = {"Authorization": f"Bearer {self._token}"}
        async with session.get(f"{self._url}/admin/key", params=query, headers=headers) as answer:
            answer.raise_for_status()
            found: dict[str, Any] = (await answer.json())["descriptors"][0]["limits"][0]
            return found

    def _budget(self, tenant: Tenant, found: dict[str, Any]) -> Budget:
        used = found["used"]
        self._worst[tenant] = worst = max(self._worst[tenant], used)
        return Budget(found["quota"], round(found["window_seconds"]), used, found.get("held", 0), worst)
