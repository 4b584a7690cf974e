"""A model behind Envoy: an upstream whose answers have a usage, and Envoy's filters that read it."""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web

USED = 12
"""Tokens of an answer that tells its usage."""

SUBSTITUTE = 700
"""Tokens of an answer that tells none."""

FIXED = 30
"""Tokens of a report that needs no usage."""

TYPE = "type.googleapis.com/envoy.extensions."
SUCCEEDED = "response.code == 200"


class Model:
    """Answers as the header ``x-answer`` says.

    ``json`` and ``stream`` tell their usage, ``silent`` is a stream that does not, ``error`` is a 503. ``held`` is a
    stream that goes on when ``goes_on`` is set; it has ``began`` before.
    """

    def __init__(self):
        self.began, self.goes_on = asyncio.Event(), asyncio.Event()

    async def answer(self, request):
        """Answer one request."""
        kind = request.headers["x-answer"]
        usage = {"usage": {"prompt_tokens": 5, "completion_tokens": USED - 5, "total_tokens": USED}}
        if kind == "error":
            return web.json_response({"error": {"message": "overloaded"}}, status=503)
        if kind == "json":
            return web.json_response({"object": "chat.completion", "model": "m", "choices": [], **usage})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event({"choices": [{"index": 0, "delta": {"content": "a"}}]}))
        self.began.set()
        if kind == "held":
            await self.goes_on.wait()
        if kind != "silent":
            await response.write(event({"choices": [], **usage}))
        await response.write(b"data: [DONE]\n\n")
        return response


def event(fields):
    """A chunk of a stream."""
    chunk = {"id": "1", "object": "chat.completion.chunk", "model": "m", **fields}
    return b"data: %b\n\n" % json.dumps(chunk).encode()


@asynccontextmanager
async def model():
    """Run a model; yields it and its host:port."""
    made = Model()
    runner = web.ServerRunner(web.Server(made.answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield made, f"{host}:{port}"
    finally:
        made.goes_on.set()
        await runner.cleanup()


def extension(name, type_name, **fields):
    """A filter of Envoy's."""
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": f"{TYPE}{type_name}", **fields}}


RULE = {
    "selectors": [{"key": "usage"}, {"key": "total_tokens"}],
    "on_present": {"metadata_namespace": "llm", "key": "total", "type": "NUMBER"},
}
PARSER = {
    "name": "envoy.content_parsers.json",
    "typed_config": {"@type": f"{TYPE}content_parsers.json.v3.JsonContentParser", "rules": [{"rule": RULE}]},
}
TYPED = "metadata.typed_filter_metadata"
AI_USAGE = "envoy.ai.token_usage"

JSON_TO = "filters.http.json_to_metadata.v3.JsonToMetadata"
SSE_TO = "filters.http.sse_to_metadata.v3.SseToMetadata"
AI = "filters.http.ai_protocol_manager.v3.AiProtocolManager"

JSON = {"regex": "application/json(;.*)?"}
"""The content types of JSON; the default of json_to_metadata takes none with a charset."""

FILTERS = {
    "metadata": [
        extension("json_to_metadata", JSON_TO, response_rules={"allow_content_types_regex": JSON, "rules": [RULE]}),
        extension("sse_to_metadata", SSE_TO, response_rules={"content_parser": PARSER}),
    ],
    "ai": [extension("ai_protocol_manager", AI, request_handling={}, response_handling={"token_usage": {}})],
}
"""Both ways in which Envoy reads a usage; the second is work in progress in Envoy 1.40."""

USAGES = {
    "metadata": ("'llm' in metadata.filter_metadata", "metadata.filter_metadata['llm'].total", f"{SUBSTITUTE}.0"),
    "ai": (f"'{AI_USAGE}' in {TYPED}", f"{TYPED}['{AI_USAGE}'].total_tokens", f"uint({SUBSTITUTE})"),
}
"""Of each: whether there is a usage, the usage, and the substitute, as expressions."""


def reports(filters):
    """What is reported of an answer: always the same, its usage if there is one, and that or a substitute."""
    known, usage, substitute = USAGES[filters]
    return {
        "fixed": {"number": FIXED},
        "usage": {"format": f"%TYPED_CEL({known} ? {usage} : null)%"},
        "substituted": {"format": f"%TYPED_CEL({known} ? {usage} : ({SUCCEEDED} ? {substitute} : null))%"},
    }


def protocol(filters):
    """What a route says of its model, as a filter's configuration."""
    if filters == "metadata":
        return {}
    said = {
        "@type": f"{TYPE}{AI}PerRoute",
        "request": {"llm_protocol": "OPENAI_CHAT_COMPLETIONS"},
    }
    return {"envoy.filters.http.ai_protocol_manager": said}
