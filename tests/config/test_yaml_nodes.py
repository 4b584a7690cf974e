"""YAML with marks: raw scalars, lines, and what is refused."""

import contextlib

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.config import yaml_nodes as yaml


def scalar(text):
    node = yaml.load_yaml(text.encode())
    assert isinstance(node, yaml.YamlScalar)
    return node


def pairs(text):
    node = yaml.load_yaml(text.encode())
    assert isinstance(node, yaml.YamlMap)
    return [(key.text, getattr(value, "text", value)) for key, value in node.pairs if isinstance(key, yaml.YamlScalar)]


@pytest.mark.parametrize("text", ["010", "yes", "12:30", "123", "1_000", "0x10", "2001-01-01", "~", "on"])
def test_a_scalar_keeps_its_text(text):
    """What other loaders make a number, a boolean or a date of stays as it was written."""
    assert scalar(text).text == text


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("010", 8),
        ("0o10", 8),
        ("0x1F", 31),
        ("-0b11", -3),
        ("1_000", 1000),
        ("+7", 7),
        ("yes", True),
        ("Off", False),
        ("n", False),
        ("~", None),
        ("Null", None),
        ("12:30", "12:30"),
        ("2001-01-01", "2001-01-01"),
        ("089", 89.0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("9223372036854775807", (1 << 63) - 1),
        ("9223372036854775808", float(1 << 63)),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("!other 5", "5"),
        ("+", "+"),
        ("1" * 5000, float("inf")),
    ],
)
def test_a_scalar_means_what_it_means_to_yaml_v2(text, meaning):
    """Kinds are resolved as the YAML reader of envoyproxy/ratelimit resolves them."""
    found = yaml.resolve(scalar(text))
    assert (found, type(found)) == (meaning, type(meaning))


def test_nodes_know_their_line():
    """Lines count from 1, for scalars, lists and maps alike."""
    node = yaml.load_yaml(b"a: 1\nb:\n  - x\n  - {c: 2}\n")
    assert isinstance(node, yaml.YamlMap)
    items = node.pairs[1][1]
    assert isinstance(items, yaml.YamlList)
    assert [node.line, node.pairs[1][0].line, items.line, *(item.line for item in items.items)] == [1, 2, 3, 3, 4]


def test_only_the_first_document_is_read():
    """Later documents may even be broken."""
    assert pairs("a: 1\n---\nb: [\n") == [("a", "1")]


def test_no_document_is_none():
    """Comments alone are no document."""
    assert yaml.load_yaml(b"# nothing\n") is None


def test_merge_keys_are_put_in_where_they_stand():
    """``<<`` is replaced by what it names; the first map of a list wins, so it comes last."""
    text = "base: &b {x: 1}\nmore: &m {x: 2}\nall:\n  <<: [*b, *m]\n  y: 3\n"
    node = yaml.load_yaml(text.encode())
    assert isinstance(node, yaml.YamlMap)
    merged = node.pairs[2][1]
    assert isinstance(merged, yaml.YamlMap)
    assert [(key.text, value.text) for key, value in merged.pairs] == [("x", "2"), ("x", "1"), ("y", "3")]


@pytest.mark.parametrize(
    ("data", "line", "words"),
    [
        (b"a: [1\nb: 2\n", 2, "not valid YAML"),
        (b"a: 1\nb: \xff\n", 2, "not text"),
        (b"a: 1\nb: *missing\n", 2, "names nothing that is complete"),
        (b"a: &a [*a]\n", 1, "names nothing that is complete"),
        (b"a: 1\nb: {<<: 5}\n", 2, "takes a map"),
        (b"\n" + b"[" * 101, 2, "nested deeper than 100"),
        (b"\n" + b"[" * 100_000, 2, "nest"),
    ],
)
def test_what_is_not_yaml_is_refused_with_its_line(data, line, words):
    """Every refusal says where, in words of our own; no depth of nesting exhausts a stack."""
    with pytest.raises(yaml.YamlError, match=words) as caught:
        yaml.load_yaml(data)
    assert caught.value.line == line


def test_a_billion_laughs_are_refused():
    """Aliases of aliases may not expand without bound."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(yaml.YamlError, match="aliases add more than"):
        yaml.load_yaml("\n".join(lines).encode())


def test_the_loader_in_python_reads_the_same(monkeypatch):
    """Without the C library the nodes are equal."""
    text = b"a: {b: [1, 'two', !!int '3', &x yes, *x], ? c : |\n  text\n}\n"
    in_c = yaml.load_yaml(text.replace(b"|\n  text\n", b"4"))
    monkeypatch.setattr(yaml, "_LOADER", pyyaml.Loader)
    assert yaml.load_yaml(text.replace(b"|\n  text\n", b"4")) == in_c


def test_half_a_surrogate_pair_is_refused(monkeypatch):
    """The loader in Python lets one through; it could not be encoded later."""
    monkeypatch.setattr(yaml, "_LOADER", pyyaml.Loader)
    with pytest.raises(yaml.YamlError, match="surrogate"):
        yaml.load_yaml(b'"\\uD800"')


@given(st.binary(max_size=200) | st.text("ab:-[]{}&*!'\"|>?#%,\n 0x<\\u", max_size=60).map(str.encode))
def test_any_bytes_are_nodes_or_a_yaml_error(data):
    """Nothing but YamlError is ever raised."""
    with contextlib.suppress(yaml.YamlError):
        yaml.load_yaml(data)


def test_the_last_of_equal_keys_is_the_value():
    """``value_of`` finds nothing in a node that is no map."""
    node = yaml.load_yaml(b"a: 1\nb: {}\na: 2\n")
    found = yaml.value_of(node, "a")
    assert isinstance(found, yaml.YamlScalar)
    assert (found.text, found.line) == ("2", 3)
    assert (yaml.value_of(node, "c"), yaml.value_of(found, "a"), yaml.value_of(None, "a")) == (None, None, None)


@pytest.mark.parametrize(("text", "null"), [("~", True), ("Null", True), ("'~'", False), ("0", False), ("[]", False)])
def test_only_a_scalar_can_be_null(text, null):
    """By the words of yaml.v2, without quotes."""
    node = yaml.load_yaml(text.encode())
    assert node is not None
    assert yaml.is_null(node) is null
