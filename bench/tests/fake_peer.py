"""A peer as far as a start needs one: it answers Envoy's rate-limit API by its limits file, or wrongly on purpose."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import yaml

from ratelimitd.proto import message

Asked = message("envoy.service.ratelimit.v3.RateLimitRequest")
Answer = message("envoy.service.ratelimit.v3.RateLimitResponse")


def main(listen, limits, how, *_):
    """Serve until SIGTERM; ``how`` is a wrong way, or the domain that is not known."""
    print(f"fake peer: {how}", flush=True)
    if how == "ends":
        return
    known = yaml.safe_load(Path(limits).read_text())
    most = {each["namespace"]: each["max_value"] for each in known if each["namespace"] != how}

    def answer(asked, _):
        over = asked.hits_addend > most.get(asked.domain, asked.hits_addend)
        over = {"never": False, "always": True}.get(how, over)
        answered = Answer(overall_code="OVER_LIMIT" if over else "OK")
        if how == "status":
            answered.statuses.add().current_limit.requests_per_unit = 5
        return answered

    method = grpc.unary_unary_rpc_method_handler(answer, Asked.FromString, Answer.SerializeToString)
    server = grpc.server(ThreadPoolExecutor(1))
    service = "envoy.service.ratelimit.v3.RateLimitService"
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"ShouldRateLimit": method})])
    server.add_insecure_port(listen)
    server.start()
    threading.Event().wait()


main(*sys.argv[1:])
