"""docs/http-framing.md says what is so."""

from pathlib import Path

import pytest

from tests.http1.framing_table import REQUESTS, RESPONSES, our_response, ours, table

DOCS = Path(__file__).parents[2] / "docs" / "http-framing.md"


def test_the_table_is_true():
    """What the documentation says that httptools, h11 and we refuse is what they refuse."""
    assert table() in DOCS.read_text(), "python -m tests.http1.framing_table prints the table"


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_refused_wherever_both_parsers_refuse_it(name):
    """We take nothing that h11 refuses, httptools' leniency or not, but for what RFC 9112 2.2 says to take."""
    if name == "an empty line before the request":
        return
    row = next(line for line in table().splitlines() if line.startswith(f"| {name} |")).split(" | ")
    assert ours(REQUESTS[name]) != "takes" or row[2] == "takes"


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_is_refused_wherever_h11_refuses_it(name):
    """The same for responses."""
    row = [line for line in table().splitlines() if line.startswith(f"| {name} |")][-1].split(" | ")
    assert our_response(RESPONSES[name]) != "takes" or row[2] == "takes"
