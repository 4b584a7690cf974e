"""Comments that turn rules off, in files as editors save them."""

import codecs
import time

import pytest

from ratelimitd.lint import lint
from ratelimitd.policy_file import examine
from tests.lint.linting import linted_text, said

FILE = "domain: d\ndescriptors:\n  - key: user\n    rate_limit: {unit: second}\n"
WHOLE, LINE = f"# lint: off denies-all\n{FILE}", FILE.replace("second}", "second} # lint: off denies-all")


def test_the_fault_is_found_without_a_comment(tmp_path):
    """Else the tests below would show nothing."""
    assert said(linted_text(tmp_path, FILE)) == [(4, "denies-all")]


@pytest.mark.parametrize(
    "text", [WHOLE, LINE, WHOLE.replace("\n", "\r\n"), LINE.replace("\n", "\r\n"), f"---\n{WHOLE}"]
)
def test_a_comment_is_found_whatever_ends_a_line(text, tmp_path):
    """And after the marker of the first document."""
    assert linted_text(tmp_path, text) == []


def test_a_byte_order_mark_is_no_content(tmp_path):
    """A comment after it is before the first key, so it applies to the whole file."""
    assert linted_text(tmp_path, codecs.BOM_UTF8 + WHOLE.encode()) == []


def test_a_mark_before_a_comment_begins_no_second_document(tmp_path):
    """Nor does a byte order mark before a comment and the marker of the first document."""
    text = codecs.BOM_UTF8 + b"# a policy\n---\n" + FILE.replace("second}", "second, requests_per_unit: 1}").encode()
    assert linted_text(tmp_path, text) == []


@pytest.mark.alone
def test_many_comments_take_little_time():
    """A file with a comment for each of 4,000 faults takes a second, not its square: a load has a time limit."""
    descriptors = "".join(f"  # lint: off misplaced-key\n  - {{key: k{n}, unit: second}}\n" for n in range(4_000))
    text = f"domain: d\ndescriptors:\n{descriptors}".encode()
    parsed = examine([("p.yaml", text)])
    began = time.process_time()
    assert [warning.rule for warning in lint(parsed, {"p.yaml": text}) if warning.rule == "misplaced-key"] == []
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    "comment", ["#lint: off denies-all", "#  lint:off denies-all", "# lint: off denies-all,rate-rounded,"]
)
def test_spaces_and_commas_are_free(comment, tmp_path):
    """As in the comments of other linters."""
    assert linted_text(tmp_path, f"{comment}\n{FILE}") == []


@pytest.mark.parametrize("text", ["'# lint: off'", "a#lint:off", "lint: off"])
def test_what_is_no_comment_says_nothing(text, tmp_path):
    """A comment begins at a hash after white space, as in YAML."""
    file = FILE.replace("second}", "second, requests_per_unit: 1}") + f'    metadata: {{text: "{text}"}}\n'
    assert linted_text(tmp_path, file) == []
