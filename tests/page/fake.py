"""A service that serves the page and documents which a test chooses, through the real listener and tables of pages."""

import asyncio
import json
from contextlib import asynccontextmanager

from ratelimitd.admin import listen
from ratelimitd.admin.http import Access, Page, PageResponse, as_json
from ratelimitd.admin.page import page
from ratelimitd.admin.pages import index

from . import documents

TOKEN = "a-token-of-the-test"
LIVE = ("overview", "history", "limits", "limit", "denials", "what-if", "replicas", "events")
MERGED = LIVE[:5]
"""What the service merges over all replicas."""


class Fake:
    """What the service says; tests change its fields.

    Attributes:
        rows, denied, found, overview: what the documents are made from.
        overrides: by path: a function of the request that answers in place of the page.
        requests: (method, path, raw query, authorization, body) of each request, oldest first.
        readers: open event streams now.
        events: an event of (name, document) that readers get at once, and each later one.
    """

    def __init__(self):
        self.rows = documents.rows()
        self.denied = documents.denials
        self.keys = documents.keys
        self.overview = documents.overview
        self.history = documents.all_hits()
        self.replicas = documents.replicas()
        self.overrides = {}
        self.requests = []
        self.readers = 0
        self.seen = 0
        self.sent = []
        self.woken = asyncio.Event()

    def send(self, name, document):
        """Send an event to all readers."""
        self.sent.append((name, document))
        self.woken.set()
        self.woken = asyncio.Event()

    def end(self):
        """End all event streams, as a service does that shuts down."""
        self.send("", None)

    def pages(self):
        answers = {
            "overview": lambda query, plain: self.overview(plain),
            "history": lambda query, plain: {"step": documents.STEP, "end": int(documents.NOW), **self.history},
            "limits": lambda query, plain: self._limits(query),
            "limit": lambda query, plain: self._limit(query["id"], plain),
            "denials": lambda query, plain: {"denials": self.denied(plain)},
            "what-if": lambda query, plain: documents.what_if(self._row(query["id"]), query),
            "replicas": lambda query, plain: self.replicas,
        }
        table = {
            f"/live/{name}": Page(self._answering(name, answer), name, Access.READS) for name, answer in answers.items()
        }
        table["/live/events"] = Page(self._seen(self._events), "events", Access.READS)
        table["/admin/key"] = Page(self._seen(self._key), "a key")
        table["/admin/explain"] = Page(self._seen(self._explain), "why")
        return {**table, "/": Page(self._seen(page(index(table))), "this list", Access.READS)}

    def _seen(self, handler):
        async def seen(request):
            headers = request.headers
            self.requests.append(
                (request.method, request.path, request.raw_query, headers.get("Authorization"), request.body)
            )
            override = self.overrides.get(request.path)
            return (override and override(request)) or await handler(request)

        return seen

    def _answering(self, name, answer):
        async def handler(request):
            if refused := refusal(request):
                return refused
            if "all" in request.query and name not in MERGED:
                return as_json(400, {"error": "unknown parameter 'all'"})
            document = answer(request.query, plain(request))
            if document is None:
                return as_json(404, {"error": "the policy has no limit with this id"})
            return as_json(200, {"version": 1, "time": documents.NOW, **document})

        return self._seen(handler)

    def _row(self, wanted):
        return next((row for row in self.rows if row["id"] == wanted), None)

    def _limits(self, query):
        offset, most, text = int(query.get("offset", 0)), int(query.get("limit", 100)), query.get("search", "")
        kept = [row for row in self.rows if text in row["name"] or text in row["domain"]]
        kept.sort(key=SORTS[query.get("sort", "denied")], reverse=query.get("order", "desc") == "desc")
        return {"total": len(kept), "limits": kept[offset : offset + most]}

    def _limit(self, wanted, shown):
        row = self._row(wanted)
        at = next((at for at, each in enumerate(documents.ROWS, 1) if each[0] == (row or {}).get("name")), 0)
        if not at:
            return row and {"limit": row, "history": None, "keys": [], "keys_error": ERROR, "denials": []}
        values = documents.ROWS[at - 1]
        hour = documents.history(values[9], values[10], values[8] == "shadow", at)
        mine = [each for each in self.denied(shown) if each["id"] == wanted]
        return {
            "limit": row,
            "history": {"step": 10, "end": int(documents.NOW), **hour},
            "keys": self.keys(shown),
            "keys_error": ERROR,
            "denials": mine,
        }

    async def _events(self, request):
        return refusal(request) or PageResponse(200, self._stream(), "text/event-stream", {"Cache-Control": "no-store"})

    async def _stream(self):
        at = len(self.sent)
        self.readers += 1
        self.seen += 1
        try:
            yield b": begun\n\n"
            while True:
                woken = self.woken
                for name, document in self.sent[at:]:
                    if document is None:
                        return
                    yield f"event: {name}\ndata: {json.dumps(document)}\n\n".encode()
                at = len(self.sent)
                await asyncio.wait([asyncio.ensure_future(woken.wait())], timeout=0.2)
                yield b": \n\n"
        finally:
            self.readers -= 1

    async def _key(self, request):
        if refused := refusal(request, needed=True):
            return refused
        body = json.loads(request.body)
        shown = ",".join(f"{entry['key']}={entry['value']}" for entry in body["descriptors"][0]["entries"])
        if request.method == "DELETE":
            self.reset = True
            limit = {"limit": "", "counter": "c", "reset": True, "used_before": 98, "remaining": 100}
        else:
            limit = looked_up(0 if getattr(self, "reset", False) else 98)
        descriptor = {"descriptor": shown, "unlimited": False, "limits": [limit]}
        return as_json(200, {"domain": body["domain"], "store": "redis", "descriptors": [descriptor]})

    async def _explain(self, request):
        return refusal(request, needed=True) or as_json(
            200,
            {
                "domain": "shop",
                "known_domain": True,
                "descriptors": [
                    {
                        "descriptor": "user=alice",
                        "text": ["user=alice took user, the key with any value", "shop.user: 100 per minute"],
                    }
                ],
            },
        )


ERROR = {
    "share": 0.008,
    "text": "a key with more than 0.8 % of the recent hits is listed; hits before it was listed are not counted",
}
SORTS = {
    "denied": lambda row: row["rates"]["denied"],
    "allowed": lambda row: row["rates"]["allowed"],
    "rate": lambda row: sum(row["rates"].values()),
    "use": lambda row: row["use"] or 0,
    "keys": lambda row: row["active_keys"] or 0,
    "name": lambda row: row["name"],
}


def plain(request):
    return request.headers.get("Authorization") == f"Bearer {TOKEN}"


def refusal(request, needed=False):
    """As the guard: 401 for a wrong token, and for none where one is needed."""
    presented = request.headers.get("Authorization")
    if plain(request) or (presented is None and not needed):
        return None
    return as_json(401, {"error": "send the header Authorization: Bearer TOKEN"})


def looked_up(used):
    return {
        "limit": "shop.user",
        "counter": "rl1:gcra:60000000:4:shop0:4:user5:alice_",
        "algorithm": "gcra",
        "quota": 100,
        "window_seconds": 60.0,
        "burst": 100,
        "shadow_mode": False,
        "quota_mode": False,
        "enforced": True,
        "on_store_failure": "local",
        "cost": 1,
        "remembered_denial": None,
        "allowed": True,
        "used": used,
        "remaining": 100 - used,
        "reset_after_seconds": used * 0.6,
    }


@asynccontextmanager
async def served(fake):
    """Serve a fake on a free port of loopback; yields the address of the page."""
    listening = await listen(fake.pages(), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.port}/"
    finally:
        await listening.close()
