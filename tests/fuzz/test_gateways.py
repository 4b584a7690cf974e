"""Gateway files of any kind, through YAML, the reader, the router and the bootstrap for Envoy."""

import warnings
from contextlib import suppress

import pytest
import yaml as pyyaml
from hypothesis import strategies as st

from ratelimitd.gateway.client_address import trust
from ratelimitd.gateway.file import read_gateway
from ratelimitd.gateway.routing import Router
from ratelimitd.policy import PolicyErrors
from ratelimitd.sources.gateway_file import inline_policies
from tests.fuzz.documents import bombs
from tests.fuzz.gateways import TEMPLATES, gateway_files
from tests.fuzz.runs import LEAST_SHARE, Seen, bounded, fuzz, little_memory
from tests.fuzz.test_policies import check_errors, check_warnings, is_yaml
from tests.gateway.files import ask

pytestmark = [pytest.mark.slow, pytest.mark.alone]

EXAMPLES = 300
USES = ("routed", "envoy", "routed", "read for envoy", "routed", "routed")
"""A bootstrap takes 0.1 s, so not every file becomes one."""


def bootstrap(gateway):
    """Make an Envoy configuration; returns whether it could be made, or EnvoyError said why not."""
    from ratelimitd.gateway import envoy

    try:
        built = envoy.bootstrap(gateway, b"d", envoy.EnvoyOptions(("localhost", 8081)))
    except envoy.EnvoyError:
        return False
    assert pyyaml.safe_load(envoy.as_yaml(built, "")) == built
    return True


def used(gateway, use):
    """Do with a gateway what it is for; returns how far it came."""
    trust(gateway.trusted_proxies)
    if use == "routed":
        return [use] if ask(Router(gateway), "/a", headers=[("x-a", "a")]) else []
    return [use] if use == "envoy" and bootstrap(gateway) else []


def test_any_file_is_a_gateway_or_errors_with_their_lines():
    """Whatever a file holds, it is a gateway that routes, or errors with file, line and message, and nothing else.

    One that is read for Envoy becomes a bootstrap, or EnvoyError. Time and memory are bounded.
    """
    seen = Seen()

    def check(drawn):
        text, use = drawn
        places = ["yaml"] if is_yaml(text) else []
        try:
            with bounded():
                gateway = read_gateway("g.yaml", text, for_envoy=use != "routed")
                check_warnings(inline_policies("g.yaml", text), {"g.yaml": text}, "g.yaml")
        except PolicyErrors as wrong:
            check_errors(wrong.errors, [("g.yaml", text)])
        else:
            places += ["gateway", *used(gateway, use)]
        seen.reached(*places)

    with little_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of envoy-data-plane's types
        fuzz(st.tuples(gateway_files, st.sampled_from(USES)), EXAMPLES, check)
    assert seen.share("yaml") >= LEAST_SHARE
    assert seen.share("gateway") >= LEAST_SHARE / 3
    assert seen.counts["routed"] >= EXAMPLES / 10
    assert seen.counts["envoy"] >= EXAMPLES / 50


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_short_text_that_means_much_is_a_gateway_or_errors(template):
    """Aliases of aliases take neither long nor much memory, wherever they stand."""
    with little_memory():
        for text in bombs(template):
            with bounded(), suppress(PolicyErrors):
                read_gateway("g.yaml", text, for_envoy=True)
                check_warnings(inline_policies("g.yaml", text), {"g.yaml": text}, "g.yaml")
