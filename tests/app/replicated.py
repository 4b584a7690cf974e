"""Replicas as they answer one another: real listeners, with documents that a test writes."""

import time
from contextlib import asynccontextmanager

from ratelimitd.admin import TokenError, TokenGuard, listen, page_of, peer_pages
from ratelimitd.admin.events import Hub
from ratelimitd.app.replicas import Replicas
from ratelimitd.config.values import peer_names
from tests.live.documents import empty_overview

TOKEN = "a-token-of-the-tests-0123456789"


class Shown:
    """A ``LiveView`` of documents; ``asked`` are the calls, each with whether keys were to be plain."""

    def __init__(self, name="pod-1", **documents):
        self.name = name
        self.documents = documents
        self.asked = []

    async def overview(self, *, plain):
        self.asked.append(("overview", plain))
        return self.documents.get("overview") or named(self.name, time=time.time(), authorized=plain)

    async def history(self):
        return self.documents["history"]

    async def limits(self, query, *, plain):
        self.asked.append((query, plain))
        return self.documents["limits"]

    async def limit(self, asked, *, plain):
        self.asked.append((asked, plain))
        return self.documents.get("limit")

    async def denials(self, asked, most, *, plain):
        return self.documents["denials"]


def named(name, **fields):
    """The overview of a replica by name, which is its id too."""
    replica = {"id": name, "name": name, "started": 1, "software": "0.9.0", "build": "compiled"}
    return empty_overview(replica=replica, **fields)


@asynccontextmanager
async def listening(view, token=TOKEN, host="127.0.0.1", port=0, tls=None):
    """Serve a view to other replicas; yields the address."""
    guard = TokenGuard(token.encode, lambda: 0, remote=True)
    hub = Hub(lambda *_: None)
    listener = await listen(peer_pages(view, guard, hub), host, port, tls=tls)
    try:
        yield listener.address
    finally:
        await listener.close()


def replicas(view, *addresses, token=TOKEN, same_hashes=False, tls=None, port=6071):
    """What asks these addresses, for a replica with this view."""

    async def own(kind, query, plain):
        return await page_of(view, kind, query, plain=plain)

    def no_token():
        raise TokenError("there is none")

    current = token.encode if token else no_token
    return Replicas(peer_names(",".join(addresses)), port, own, current, tls, same_hashes=same_hashes)


def rows(document):
    """The state of each replica by name, or by address if it did not say its name."""
    return {row["name"] or row["address"]: row["state"] for row in document["replicas"]}
