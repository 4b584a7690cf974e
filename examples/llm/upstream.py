#!/usr/bin/env python3
"""A stand-in for a language model's API: chat completions as OpenAI answers them, in JSON or as a stream of events.

``python examples/llm/upstream.py 9000`` answers ``POST /v1/chat/completions`` with as many words as a seeded log-normal
distribution says, at a pace of so many tokens per second. ``GET /reported`` has the usage of each tenant. It needs
nothing but Python.
"""

import argparse
import json
import math
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any

COMPLETIONS = "/v1/chat/completions"

MEDIAN, SIGMA, LEAST, MOST = 400, 1.1, 50, 8_000
"""Tokens of an answer: half have fewer than 400, one of ten more than 1,600, and the mean is 720."""

PACE = 50.0
"""Tokens per second of a stream."""

PARTS = 0.1
"""Seconds between the events of a stream."""

BYTES_PER_TOKEN = 4

FAILING = "failing"
"""A model that answers 503."""


class Model:
    """Answers, and what has been reported of them.

    Attributes:
        reported: usage of each tenant that an answer has told, in tokens in and out.
        generated: tokens out of each tenant, of answers that were cut off too.
    """

    def __init__(self, seed: int, pace: float) -> None:
        self.pace = pace
        self._random = Random(seed)  # noqa: S311 -- lengths of answers, not a secret
        self._lock = threading.Lock()
        self._number = 0
        self.reported: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(("answers", "input", "output"), 0))
        self.generated: dict[str, int] = defaultdict(int)

    def length(self, most: int) -> tuple[int, int]:
        """Return the number of the next answer, and its tokens, ``most`` at most."""
        with self._lock:
            self._number += 1
            drawn = self._random.lognormvariate(math.log(MEDIAN), SIGMA)
            return self._number, min(max(round(drawn), LEAST), MOST, most)

    def generate(self, tenant: str, tokens: int) -> None:
        """Count tokens that a client was sent."""
        with self._lock:
            self.generated[tenant] += tokens

    def report(self, tenant: str, usage: dict[str, int]) -> None:
        """Count usage that an answer tells."""
        with self._lock:
            counts = self.reported[tenant]
            counts["answers"] += 1
            counts["input"] += usage["prompt_tokens"]
            counts["output"] += usage["completion_tokens"]

    def counts(self) -> dict[str, Any]:
        """Return all counts by tenant."""
        with self._lock:
            tenants = self.reported.keys() | self.generated.keys()
            return {name: {**self.reported[name], "generated": self.generated[name]} for name in sorted(tenants)}


class Handler(BaseHTTPRequestHandler):
    """Answers chat completions."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    server: "Server"

    def do_GET(self) -> None:
        """Return what was reported."""
        self._answer(200, self.server.model.counts() if self.path == "/reported" else {"path": self.path})

    def do_POST(self) -> None:
        """Answer as the request wants it."""
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        if self.path != COMPLETIONS:
            self._answer(404, {"error": {"message": f"no such path; write {COMPLETIONS}"}})
        elif body.get("model") == FAILING:
            self._answer(503, {"error": {"message": "overloaded", "type": "server_error"}})
        else:
            with suppress(ConnectionError):  # the client has left
                self._complete(body)

    def _complete(self, body: dict[str, Any]) -> None:
        model, tenant = self.server.model, self.headers.get("X-Tenant", "")
        number, tokens = model.length(int(body.get("max_tokens") or MOST))
        asked = max(1, len(json.dumps(body.get("messages", []))) // BYTES_PER_TOKEN)
        usage = {"prompt_tokens": asked, "completion_tokens": tokens, "total_tokens": asked + tokens}
        head = {"id": f"chatcmpl-{number}", "created": int(time.time()), "model": body.get("model", "fake")}
        if body.get("stream"):
            told = bool((body.get("stream_options") or {}).get("include_usage"))
            self._stream(head, tokens, usage if told else None, tenant)
            return
        time.sleep(tokens / model.pace)
        model.generate(tenant, tokens)
        message = {"role": "assistant", "content": "word " * tokens}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        model.report(tenant, usage)
        self._answer(200, {**head, "object": "chat.completion", "choices": choices, "usage": usage})

    def _stream(self, head: dict[str, Any], tokens: int, usage: dict[str, int] | None, tenant: str) -> None:
        """Send an answer as events, at the model's pace; usage is in an event of its own, if it was asked for."""
        model = self.server.model
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head = {**head, "object": "chat.completion.chunk"}
        for part in _parts(tokens, max(1, round(model.pace * PARTS))):
            self._event({**head, "choices": [{"index": 0, "delta": {"content": "word " * part}}]})
            model.generate(tenant, part)
            time.sleep(part / model.pace)
        self._event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if usage is not None:
            model.report(tenant, usage)
            self._event({**head, "choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, value: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(value).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def _answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _parts(tokens: int, size: int) -> Iterator[int]:
    """Split tokens into parts of this size."""
    while tokens > 0:
        yield min(size, tokens)
        tokens -= size


class Server(ThreadingHTTPServer):
    """Listens on the loopback address."""

    request_queue_size = 1024
    daemon_threads = True

    def __init__(self, port: int, model: Model) -> None:
        self.model = model
        super().__init__(("127.0.0.1", port), Handler)


def main() -> None:
    """Serve until SIGINT."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int)
    parser.add_argument("--seed", type=int, default=0, help="seed of the answers' lengths")
    parser.add_argument("--pace", type=float, default=PACE, help="tokens per second of a stream")
    options = parser.parse_args()
    try:
        made = Server(options.port, Model(options.seed, options.pace))
    except OSError as error:
        sys.exit(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}")
    with made as server, suppress(KeyboardInterrupt):
        print(f"chat completions at http://127.0.0.1:{options.port}{COMPLETIONS}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
