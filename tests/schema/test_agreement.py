"""The schemas and the parsers agree: on the files of the repository, on the texts of its tests, and on drawn files."""

import json
import re

import pytest

from tests.fuzz.documents import counts, files, flags, lists, maps, mostly, odd, one_of
from tests.fuzz.gateways import gateway_files
from tests.fuzz.policies import algorithms, failures, texts_of_policies
from tests.fuzz.runs import fuzz
from tests.schema.corpus import corpus, examples, is_map, mutated
from tests.schema.judging import as_an_editor, as_the_parser, errors_of, faults_of, is_out_of_sight, is_valid
from tests.schema.kinds import BEYOND, FOUND
from tests.schema.messages import FILES, messages
from tests.schema.whole import WHOLE

KINDS = ("policy", "gateway", "overlay")
EXAMPLES = 150

domains = one_of("d", "'*'", "default/eg/*", "5")
paths = mostly(lists(one_of("a", "'**'", "'a=b'", "'*'", "5")), odd, 8)
said = {
    "algorithm": algorithms,
    "burst": counts,
    "charge": one_of("after", "before"),
    "reserve": maps({}, {"amount": one_of("auto", "5"), "start": counts, "ttl": one_of("5s", "25h")}),
    "queue": maps({}, {"length": counts, "timeout": one_of("5s", "1ms")}),
    "on_store_failure": failures,
}
entries = maps({"domain": domains}, {**said, "path": paths}) | maps(
    {"domain": domains}, {"default_algorithm": algorithms}
)
DRAWN = {
    "policy": texts_of_policies,
    "gateway": gateway_files,
    "overlay": files(maps({"overlay": lists(entries)}, {"x": flags})),
}


def tables_of(error):
    """The kinds that an error is of, and whether a schema finds it."""
    error = re.sub("(unknown (key|action)) '.*'|(needs 'upstream': one of).*", r"\1\3", error, flags=re.DOTALL)
    return [
        (kind, table is FOUND)
        for table in (FOUND, BEYOND)
        for kind, expressions in table.items()
        if any(re.search(expression, error) for expression in expressions)
    ]


def is_to_be_found(error):
    """Whether a schema must find an error; an error of no kind, or of both tables, fails."""
    found = {found for _, found in tables_of(error)}
    assert len(found) == 1, f"put this error in one table of tests/schema/kinds.py: {error}"
    return found.pop()


def agree(kind, text):
    """Hold the schema against the parser for one file."""
    errors = errors_of(kind, text)
    if not errors:
        for value_of in (as_the_parser, as_an_editor):
            assert is_valid(kind, text, value_of) or is_out_of_sight(text), (text, faults_of(kind, text, value_of))
    elif True in list(map(is_to_be_found, errors)) and not is_out_of_sight(text):
        assert not is_valid(kind, text), (text, errors)


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind in KINDS for path in examples()[kind]])
def test_an_example_is_valid(kind, path):
    """To both, and it has no key at a place where it is ignored."""
    assert errors_of(kind, path.read_bytes()) == []
    assert faults_of(kind, path.read_bytes()) == []


def test_there_are_examples():
    """Of each kind, or the test above would promise nothing."""
    assert all(examples().values())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_they_agree_on_every_text_of_the_repository(kind):
    """Each text of the tests and of the pages, as a file and as a part of one."""
    for text in corpus(kind):
        agree(kind, text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_they_agree_on_every_fault_in_one_place(kind):
    """From a file with every key: with another value at each place, and each key gone, misspelled or too much."""
    assert errors_of(kind, json.dumps(WHOLE[kind]).encode()) == []
    for text in mutated(WHOLE[kind]):
        agree(kind, text)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_they_agree_on_drawn_files(kind):
    """Drawn from what is valid, with a fault here and there."""
    fuzz(DRAWN[kind], EXAMPLES, lambda text: agree(kind, text) if is_map(text) else None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_error_in_the_code_is_of_a_known_kind(path):
    """Whether a test causes it or not."""
    for error in messages(path):
        is_to_be_found(error)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("policy", "domain: d\ndescriptors: [{key: k, rate_limit: {concurrent: 4, ttl: 5 s}}]"),
        ("policy", "domain: d\ndescriptors: [{key: k, rate_limit: {concurrent: 4, ttl: 0s}}]"),
        ("policy", "domain: d\ndescriptors: [{key: k, rate_limit: {concurrent: 4, ttl: 90000}}]"),
        ("gateway", "{upstreams: {a: {url: 'http://a', max_head: 8KX}}, routes: [{}], policies: p}"),
        ("gateway", "{upstreams: {a: {url: a}}, routes: [{}], policies: p}"),
        ("gateway", "{upstreams: {a: {url: 'http://a'}}, routes: [{match: {methods: [get]}}], policies: p}"),
        ("gateway", "{listen: 8080, upstreams: {a: {url: 'http://a'}}, routes: [{}], policies: p}"),
    ],
)
def test_some_forms_of_texts_are_checked_too(kind, text):
    """Durations, sizes, URLs and methods: as far as an expression goes."""
    assert errors_of(kind, text.encode())
    assert faults_of(kind, text.encode())
