"""Policy files of any kind, through YAML, the parser, the tree and the service."""

from contextlib import suppress

import pytest

from ratelimitd.config.yaml_nodes import YamlError, load_yaml
from ratelimitd.lint import RULES, lint
from ratelimitd.policy import Policy, PolicyErrors
from ratelimitd.policy_file import examine, parse
from ratelimitd.proto import message
from tests.fuzz.documents import bombs
from tests.fuzz.policies import TEMPLATES, policy_files
from tests.fuzz.runs import LEAST_SHARE, Seen, bounded, fuzz, little_memory
from tests.fuzz.test_requests import check_answer, serve

pytestmark = [pytest.mark.slow, pytest.mark.alone]

EXAMPLES = 400
Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
TIERS = ("tiers.yaml", b"gold: [secret]\n")


def beside(file, named):
    """Find the one file of tiers there is."""
    if named == TIERS[0]:
        return TIERS
    raise FileNotFoundError(2, "no such file")


def is_yaml(text):
    """Whether the first parser takes it."""
    try:
        load_yaml(text)
    except YamlError:
        return False
    return True


def check_errors(errors, files):
    """See that each error says where it is and what is wrong, in text that can be printed."""
    lines = {name: text.count(b"\n") + text.count(b"\r") + text.count(b"\x85") + 1 for name, text in files}
    assert errors
    for error in errors:
        assert error.message
        assert str(error).encode()
        assert 1 <= error.line <= {**lines, TIERS[0]: 1}[error.file] + 1


def check_warnings(policies, texts, gateway=""):
    """See that the lint takes what is valid, and that each warning says where it is, what is wrong and what to do."""
    parsed = examine(policies, beside=beside)
    for warning in [] if parsed.errors else lint(parsed, texts, gateway):
        assert warning.rule in RULES
        assert warning.message
        assert warning.remedy
        assert str(warning).encode()
        assert 1 <= warning.line <= texts[warning.file].count(b"\n") + texts[warning.file].count(b"\r") + 1


def requests(policy):
    """A request for each node of a policy, all levels of it, in the words of the file."""
    for domain in policy.domains.values():
        paths = [(child,) for child in domain.root.children.values()]
        while paths:
            path = paths.pop()
            paths += [(*path, child) for child in path[-1].children.values()]
            request = Request(domain=domain.name.decode())
            built = request.descriptors.add()
            for node in path:
                built.entries.add(key=node.key.decode(), value=node.value.decode())
            yield request.SerializeToString()


def used(policy):
    """Answer requests for a policy with all that an answer can hold; returns how far the first came."""
    bodies = [body for _, body in zip(range(6), requests(policy), strict=False)]
    calls, counts = serve(policy, 1, bodies)
    reached = [check_answer(call) for call in calls]
    assert (counts.service_error, counts.redis_error) == (0, 0)
    for call in calls:
        for header in call.answers[0].response_headers_to_add:
            assert header.value.isprintable()
            assert header.value.isascii()
    return ["limited"] if any("limited" in places for places in reached) else []


async def test_any_files_are_a_policy_or_errors_with_their_lines(log):
    """Whatever a file holds, it is a policy that answers requests, or errors with file, line and message.

    Nothing else is ever raised, and time and memory are bounded.
    """
    seen = Seen()

    def check(texts):
        files = [(f"{number}.yaml", text) for number, text in enumerate(texts)]
        places = ["yaml"] if all(map(is_yaml, texts)) else []
        try:
            with bounded():
                policy = parse(files, beside=beside)
                check_warnings(files, dict(files))
        except PolicyErrors as wrong:
            check_errors(wrong.errors, files)
            places.append("errors")
        else:
            assert isinstance(policy, Policy)
            places += ["policy", *used(policy)]
        seen.reached(*places)

    with little_memory():
        fuzz(policy_files, EXAMPLES, check)
    assert log.faults == []
    assert seen.share("yaml") >= LEAST_SHARE
    assert seen.share("policy") >= LEAST_SHARE / 3
    assert seen.counts["limited"] >= EXAMPLES / 20


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_short_text_that_means_much_is_a_policy_or_errors(template):
    """Aliases of aliases take neither long nor much memory, wherever they stand."""
    with little_memory():
        for text in bombs(template):
            with bounded(), suppress(PolicyErrors):
                parse([("p.yaml", text)])
                check_warnings([("p.yaml", text)], {"p.yaml": text})


@pytest.mark.parametrize("deepest", ["{a: " * 32 + "1" + "}" * 32, "{a: " + "[" * 47 + "1" + "]" * 47 + "}"])
async def test_the_deepest_metadata_there_may_be_reaches_envoy(log, deepest):
    """Metadata nested as deep as a policy may hold it makes an answer that protobuf reads."""
    limit = "rate_limit: {unit: day, requests_per_unit: 1}"
    policy = parse([("p", f"domain: d\ndescriptors: [{{key: k, metadata: {deepest}, {limit}}}]\n".encode())])
    assert used(policy) == ["limited"]
