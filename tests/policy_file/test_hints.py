"""What an error of a policy file says beyond the text of envoyproxy/ratelimit: the cause, and what to write instead."""

import pytest

from ratelimitd.config.file_kinds import FileKind, kind_of
from ratelimitd.config.yaml_nodes import load_yaml
from ratelimitd.policy_file import examine
from ratelimitd.policy_file.parse import INSTEAD

TAB = "found character that cannot start any token"
"""What libyaml says of a tab."""

HEAD = "domain: d\ndescriptors:\n"


def errors(*texts):
    files = [(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    return [error.message for error in examine(files).errors]


def limit(text):
    return HEAD + f"- key: k\n  rate_limit: {{{text}}}\n"


HINTS = [
    (
        limit("unit: minute, requests_per_unit: 0.5"),
        (
            "error checking config: 'requests_per_unit' must be a whole number from 0 to 4294967295 (without quotes); "
            "for 0.5 a second write 30 a minute"
        ),
    ),
    (
        limit("unit: minute, algorithm: gcra, burst: 1.5"),
        "error checking config: 'burst' must be a whole number from 0 to 4294967295 (without quotes)",
    ),
    (
        HEAD + "- {key: k, shadow_mode: 1.0}\n",
        "error checking config: 'shadow_mode' must be true or false (without quotes)",
    ),
    (
        HEAD + "- {key: version, value: 1.5}\n",
        "error checking config: 'value' must be text: write '1.5', with the quotes",
    ),
    (HEAD + "- {key: k, name: 1.5}\n", "error checking config: write 1.5 in quotes"),
    (
        limit("unit: sec"),
        "invalid rate limit unit 'sec': write one of second, minute, hour, day, week, month, year",
    ),
    (HEAD + "- {key: k, ratelimit: {}}\n", "config error, unknown key 'ratelimit'; did you mean 'rate_limit'?"),
    (
        limit("unit: day, request_per_unit: 5"),
        "config error, unknown key 'request_per_unit'; did you mean 'requests_per_unit'?",
    ),
    (HEAD + "- {key: k, colour: red}\n", "config error, unknown key 'colour'"),
    (HEAD + "- {key: k, limit: {}}\n", "config error, unknown key 'limit'"),
    (
        limit("unit: day requests_per_unit: 5"),
        "error loading config file: not valid YAML: did not find expected ',' or '}', at column 43",
    ),
    (
        HEAD + "\t- key: k\n",
        f"error loading config file: not valid YAML: {TAB}, at column 1; indent with spaces, YAML allows no tabs there",
    ),
    (
        limit("unit: day") + "<<<<<<< HEAD\n- key: a\n=======\n- key: b\n>>>>>>> other\n",
        "error loading config file: not valid YAML: this line is the mark of a merge conflict; resolve it",
    ),
    ("", f"config file cannot have empty domain: {INSTEAD[FileKind.EMPTY]}"),
    ("# nothing yet\n", f"config file cannot have empty domain: {INSTEAD[FileKind.EMPTY]}"),
    (
        "apiVersion: v1\nkind: ConfigMap\ndata:\n  p.yaml: |\n    domain: d\n",
        f"config file cannot have empty domain: {INSTEAD[FileKind.MANIFEST]}",
    ),
    (
        "listen: ':80'\nupstreams: {}\nroutes: []\n",
        f"config file cannot have empty domain: {INSTEAD[FileKind.GATEWAY]}",
    ),
    ("domain: ''\ndescriptors: []\n", "config file cannot have empty domain: write a name after 'domain:'"),
    ("domian: d\ndescriptors: []\n", "config file cannot have empty domain: write 'domain' instead of 'domian'"),
    ("descriptors: []\n", "config file cannot have empty domain: write 'domain: NAME' at the top of the file"),
    ("premium: [key]\n", "config file cannot have empty domain: write 'domain: NAME' at the top of the file"),
]


@pytest.mark.parametrize(("text", "message"), HINTS)
def test_an_error_says_what_to_write(text, message):
    """After the words of upstream: a unit, a key, a number, or what the file is in place of a policy."""
    assert errors(text) == [message]


ONE_MISTAKE = {
    "a number": limit("unit: minute, requests_per_unti: 5, burst: 120, algorithm: gcra"),
    "a unit": limit("unti: minute, requests_per_unit: 5"),
    "an exemption": limit("unlimted: true"),
    "a limit": HEAD + "- {key: k, ratelimit: {unit: day}, on_store_failure: deny}\n",
    "a limit of several": HEAD + "- {key: k, rate_limits: [{unti: day}, {unit: hour}]}\n",
    "a value": HEAD + "- {key: k}\n- {key: k, vlaue: gold}\n",
    "a pattern": HEAD + "- {key: k, vlaue: 'a*', share_threshold: true}\n",
    "a key": HEAD + "- {kye: k, rate_limit: {unit: day}}\n",
    "a name to replace": limit("unit: day, replaces: [{nmae: x}]"),
    "a name of a limit": limit("unit: day, nmae: x, replaces: [{name: x}]"),
}


@pytest.mark.parametrize("text", ONE_MISTAKE.values(), ids=ONE_MISTAKE.keys())
def test_a_misspelled_key_is_one_error(text):
    """No second error comes from the value that is missing because of it."""
    (error,) = errors(text)
    assert "unknown key" in error


def test_independent_mistakes_are_all_told():
    """A wrong unit is wrong whatever else is."""
    assert [error.partition(":")[0] for error in errors(limit("unit: foo, requests_per_unti: 5"))] == [
        "config error, unknown key 'requests_per_unti'; did you mean 'requests_per_unit'?",
        "invalid rate limit unit 'foo'",
    ]


def test_files_without_a_domain_are_not_duplicates_of_each_other():
    """Each has its own error."""
    assert [error.partition(":")[0] for error in errors("domain: 1.5\n", "domain: 2.5\n")] == [
        "error checking config"
    ] * 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", FileKind.EMPTY),
        ("{}", FileKind.EMPTY),
        ("~", FileKind.EMPTY),
        ("apiVersion: v1\nkind: Secret\n", FileKind.MANIFEST),
        ("kind: x\ndomain: d\n", FileKind.POLICY),
        ("domain: d\nupstreams: {}\n", FileKind.GATEWAY),
        ("policies: {domain: d}\n", FileKind.GATEWAY),
        ("descriptors: []\n", FileKind.POLICY),
        ("gold: [key]\n", FileKind.OTHER),
        ("[1, 2]", FileKind.OTHER),
    ],
)
def test_the_kind_of_a_file_is_told_by_its_top_keys(text, kind):
    """A gateway file may have a domain, and a policy may have any key by mistake."""
    assert kind_of(load_yaml(text.encode())) is kind


def test_a_mark_of_a_conflict_has_its_own_line():
    """Not the line where YAML stopped to understand; and marks inside a text that is valid are text."""
    (error,) = examine([("p.yaml", b"domain: d\n<<<<<<< HEAD\ndescriptors: []\n>>>>>>> x\n")]).errors
    assert error.line == 2
    assert errors("domain: d\ndescriptors:\n- key: k\n  metadata:\n    a: |\n      x\n      =======\n") == []
