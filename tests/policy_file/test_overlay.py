"""Overlay files: what one says, and what is said of a wrong one."""

import pytest

from ratelimitd.policy import Charging, OnStoreFailure, PolicyErrors
from ratelimitd.policy_file import read_overlay, said_in_words
from ratelimitd.policy_file.overlay import ENTRIES_MAX, LEVELS_MAX

ALL = """\
overlay:
- domain: "*"
  default_algorithm: token_bucket
  default_charge: after
- domain: eg/http
  path: ["**", "a=*", b]
  algorithm: gcra
  burst: 20
  charge: after
  reserve: {amount: auto, ttl: 10m}
  queue: {length: 5, timeout: 2s}
  on_store_failure: local
"""


def errors(text):
    with pytest.raises(PolicyErrors) as caught:
        read_overlay("o.yaml", text if isinstance(text, bytes) else text.encode())
    return str(caught.value).splitlines()


def one(words, head='- domain: "*"\n  '):
    return errors(f"overlay:\n{head}{words}\n")


def test_all_keys():
    """With the values that a policy file has for them."""
    overlay = read_overlay("o.yaml", ALL.encode())
    first, second = overlay.entries
    assert (overlay.file, overlay.text) == ("o.yaml", ALL.encode())
    assert (first.line, first.domain.text, first.path) == (2, "*", None)
    assert first.said == {"default_algorithm": "token_bucket", "default_charge": Charging.AFTER}
    assert (second.line, second.domain.text, [each.text for each in second.path.elements]) == (
        5,
        "eg/http",
        ["**", "a=*", "b"],
    )
    assert {key: second.said[key] for key in ("algorithm", "burst", "charge", "on_store_failure")} == {
        "algorithm": "gcra",
        "burst": 20,
        "charge": Charging.AFTER,
        "on_store_failure": OnStoreFailure.LOCAL,
    }


def test_what_an_entry_says_is_shown_as_it_is_written():
    """For the admin API."""
    _, second = read_overlay("o.yaml", ALL.encode()).entries
    assert said_in_words(second) == {
        "algorithm": "gcra",
        "burst": "20",
        "charge": "after",
        "reserve": "{amount: auto, ttl: 10m}",
        "queue": "{length: 5, timeout: 2s}",
        "on_store_failure": "local",
    }


def test_an_overlay_may_be_empty():
    """It says nothing, and is no fault: an operator may keep the file for later."""
    assert read_overlay("o.yaml", b"overlay: []").entries == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "o.yaml: the file is empty: write 'overlay:' and a list of entries below it (line 1)"),
        ("overlay: [", "o.yaml: not valid YAML: "),
        (b"overlay: \xff", "o.yaml: not valid YAML: "),
        ("domain: d\ndescriptors: []\n", "o.yaml: this is a policy, not an overlay: give it with --config, "),
        ("policies: {}\nroutes: []\n", "o.yaml: this is a gateway file, not an overlay: "),
        ("apiVersion: v1\nkind: ConfigMap\n", "o.yaml: this is a Kubernetes manifest: "),
        ("- a\n", "o.yaml: an overlay must be a map with overlay (line 1)"),
        ("overlays: []\n", "o.yaml: unknown key 'overlays': an overlay has overlay; did you mean 'overlay'? (line 1)"),
        ("overlay: {}\n", "o.yaml: 'overlay' of an overlay must be a list (line 1)"),
        ("overlay:\n", "o.yaml: 'overlay' of an overlay must be a list (line 1)"),
        ("overlay: [a]\n", "o.yaml: an entry of 'overlay' must be a map with domain, path, "),
    ],
)
def test_a_file_that_is_no_overlay(text, said):
    """The error says what the file is, and what to write."""
    (found,) = errors(text)
    assert found.startswith(said)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("algoritm: gcra", "did you mean 'algorithm'? (line 3)"),
        ("algorithm: gcraa", "'algorithm' of an entry of 'overlay' must be one of fixed_window, "),
        ("algorithm:", "'algorithm' of an entry of 'overlay' must be one of fixed_window, "),
        ("default_algorithm: x", "'default_algorithm' of an entry of 'overlay' must be one of fixed_window, "),
        ("default_charge: x", "'default_charge' of an entry of 'overlay' must be one of after, before (line 3)"),
        ("charge: x", "'charge' of an entry of 'overlay' must be one of after, before (line 3)"),
        ("burst: 1.5", "'burst' of an entry of 'overlay' must be a whole number from 0 to "),
        ("burst:", "'burst' of an entry of 'overlay' must be a whole number from 0 to "),
        ("on_store_failure: x", "'on_store_failure' of an entry of 'overlay' must be one of error, allow, deny, local"),
        ("reserve: 5", "must be a map: write reserve: {amount: 5}, or reserve: {} for the defaults (line 3)"),
        ("reserve: {amount: 0}", "'amount' must be auto, or a whole number from 1 to "),
        ("reserve: {amont: 1}", "unknown key 'amont'; did you mean 'amount'? (line 3)"),
        ("reserve: {amount: 5, start: 6}", "remove start, or write amount: auto (line 3)"),
        ("queue: {length: 0}", "'length' must be a whole number from 1 to "),
        ("queue: {lenth: 1}", "unknown key 'lenth'; did you mean 'length'? (line 3)"),
        ("path: [a]", "says nothing: write one of algorithm, burst, "),
        ("path: a\n  burst: 1", "'path' of an entry of 'overlay' must be a list that is not empty (line 3)"),
        ("path: []\n  burst: 1", "'path' of an entry of 'overlay' must be a list that is not empty (line 3)"),
        ("path:\n  burst: 1", "'path' of an entry of 'overlay' must be a list that is not empty (line 3)"),
        ("path: [{}]\n  burst: 1", 'an item of this list must be KEY, "KEY=VALUE" or "**"'),
        ("path: [~]\n  burst: 1", 'an item of this list must be KEY, "KEY=VALUE" or "**"'),
        ("path: ['=v']\n  burst: 1", 'a key comes before =, and "*" is any (line 3)'),
        (f"path: [{', '.join('a' * LEVELS_MAX)}, a]\n  burst: 1", f"a list of at most {LEVELS_MAX} elements"),
        (
            "path: [a]\n  default_charge: after",
            "has a 'path', and 'default_charge' is for a whole domain: write 'charge'",
        ),
        ("path: [a]\n  default_algorithm: gcra", "for a whole domain: write 'algorithm', or remove the path (line 2)"),
        ("algorithm: fixed_window\n  burst: 5", "contradicts itself: burst is for token_bucket, gcra and leaky_bucket"),
        ("charge: before\n  reserve: {}", "'charge: before' says that they do not: remove one of the two (line 4)"),
        ("requests_per_unit: 5", "unknown key 'requests_per_unit': an entry of 'overlay' has domain, path, "),
    ],
)
def test_a_wrong_entry(words, said):
    """The error has the line, and what to write instead."""
    found = one(words)
    assert any(said in line for line in found)


@pytest.mark.parametrize("domain", ["", "domain: ~", 'domain: ""', "domain: [a]", 'domain: "a\\tb"'])
def test_an_entry_says_for_which_domains_it_is(domain):
    """One that is left out is no silent ``*``."""
    found = errors(f"overlay:\n- burst: 5\n  {domain}\n")
    assert len(found) == 1
    assert "domain" in found[0]


def test_all_errors_at_once():
    """In the order of their lines."""
    text = "overlay:\n- {domain: a, burst: x}\n- {burst: 1}\n- {domain: b, algorithm: y, charge: z}\n"
    assert [line.rpartition("(")[2] for line in errors(text)] == ["line 2)", "line 3)", "line 4)", "line 4)"]


def test_entries_are_bounded():
    """Each of them may be compared with each descriptor."""
    entries = "- {domain: a, burst: 1}\n" * ENTRIES_MAX
    assert len(read_overlay("o.yaml", f"overlay:\n{entries}".encode()).entries) == ENTRIES_MAX
    (found,) = errors(f"overlay:\n{entries}- {{domain: a, burst: 1}}\n")
    assert found.startswith(f"o.yaml: more than {ENTRIES_MAX} entries")
    assert found.endswith(f"(line {ENTRIES_MAX + 2})")
