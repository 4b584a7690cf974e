"""A live view for the tests of its pages: documents with little in them, and what was asked of it."""

ID = "0123456789abcdef"


class Feed:
    """Decisions that a test puts in."""

    def __init__(self, watched, plain):
        self.watched = watched
        self.plain = plain
        self.taken = []
        self.left_out = 0
        self.closed = False

    def take(self):
        taken, self.taken = self.taken, []
        left_out, self.left_out = self.left_out, 0
        return taken, left_out

    def close(self):
        self.closed = True


class Alone:
    """A ``AllReplicas`` of one replica; ``asked`` is what it was asked for, ``error`` what it raises."""

    def __init__(self):
        self.asked = []
        self.error = None
        self.found = {"version": 1, "replicas": []}

    async def all_of(self, kind, query, plain):
        self.asked.append((kind, query, plain))
        if self.error is not None:
            raise self.error
        return self.found

    async def replicas(self):
        return {"version": 1, "configured": False, "replicas": []}


class View:
    """A ``LiveView``."""

    def __init__(self):
        self.rows = 3
        self.serials = [(1, 1)]
        self.rendered = 0
        self.queries = []
        self.feeds = []
        self.replayed = 0
        self.replays_ended = 0

    async def overview(self, *, plain):
        self.rendered += 1
        return {"version": 1, "time": 1.5, "keys": "shown" if plain else "hashed"}

    async def history(self):
        return {"version": 1, "time": 1.5, "step": 10}

    async def limits(self, query, *, plain):
        self.queries.append(query)
        return {"version": 1, "time": 1.5, "total": self.rows, "limits": [{"id": "é" * n} for n in range(self.rows)]}

    async def busiest(self, *, plain):
        return {"version": 1, "time": 1.5, "limits": []}

    async def limit(self, limit_id, *, plain):
        return {"version": 1, "time": 1.5, "limit": {"id": limit_id}, "keys": []} if limit_id == ID else None

    async def denials(self, limit_id, most, *, plain):
        self.queries.append((limit_id, most))
        denials = [{"serial": serial, "count": count} for serial, count in self.serials]
        return {"version": 1, "time": 1.5, "denials": denials}

    async def what_if(self, limit_id, changes, *, plain, of_all=None):
        if "burst" in changes:
            raise ValueError("a burst of 0 is out of range")
        return self._slices(changes, of_all) if limit_id == ID else None

    def _slices(self, changes, of_all):
        try:
            for _ in range(3):
                self.replayed += 1
                yield
        finally:
            self.replays_ended += 1
        return {"version": 1, "time": 1.5, "changed": changes, "of_all": of_all}

    def decisions(self, watched, *, plain):
        self.feeds.append(Feed(watched, plain))
        return self.feeds[-1]
