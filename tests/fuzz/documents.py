"""YAML as people, templates and vandals write it: documents drawn from a schema, spelled in many ways, then damaged."""

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]


class Raw(NamedTuple):
    """A node as it is to be spelled in flow style."""

    text: str


Tree = Any
"""Raw, a list of trees, or a list of (Raw, tree) pairs within Pairs."""


class Pairs(NamedTuple):
    """A map, whose keys may be equal."""

    items: list[tuple[Raw, Tree]]


ODD_SCALARS = [
    *("010", "0x1f", "0b11", "0o7", "1_000", "+1", "-1", "-0", "0", "1e3", "1.5", ".5", "1.", ".inf", "-.inf", ".nan"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551615", "4294967295", "4294967296", "9" * 400),
    *("1e400", "12:30", "2001-01-01", "yes", "no", "on", "n", "TRUE", "~", "null", "", "''", '""', "=", "<<", "-"),
    *("'a''b'", r'"\0"', r'"\e[31m"', r'"\uD800"', r'"\r\n"', '"\\u2028"', "é", "日本", "'\U0001f4a9'", "'\ufeff'"),
    *("!!str 5", "!!int '5'", "!!int x", "!!float 3", "!!bool maybe", "!!null x", "!!binary aGk=", "!!binary '%%'"),
    *("!!timestamp 5", "!x y", "!<tag:a,b:c> d", "!!set {a}", "!!omap [a: 1]", "!!python/object:os.system x", "!"),
    *("*nowhere", "&a", "&a x", "&a [*a]", "'a: b'", "'# not'", "'%'", "'{'", "x" * 300, "*", "'*'", "/*/a/*", "a_b"),
    *("[]", "{}", "[[]]", "{a}", "{? [a] : b}", "{? {b: c} : d}", "{[a, b]: c}", "{1: 2}", "{~: 1}", "{a: 1, a: 2}"),
    *("{<<: {a: 1}}", "{<<: [{a: 1}, {b: 2}]}", "{<<: 5}", "{<<: [5]}", "{'<<': 5}", "{<<: *nowhere}", "{<<: [[{}]]}"),
    *(
        "[" * 20 + "]" * 20,
        "[" * 101 + "]" * 101,
        "{a: " * 60 + "}" * 60,
        "[" * 3000,
        "{" * 3000,
        "{a: " * 99 + "}" * 99,
    ),
]


def once_in(count):
    """Draw true about once in so many times. Not at an end of the range, which Hypothesis draws more often."""
    return st.integers(0, count - 1).map(lambda dice: dice == count // 2)


def mostly(usual, rare, count):
    """Draw the rare one about once in so many times."""
    return once_in(count).flatmap(lambda now: rare if now else usual)


odd = st.sampled_from(ODD_SCALARS).map(Raw)

names = st.sampled_from(
    ["a", "b", "user", "path", "remote_address", "'*'", "'/a/*/b'", "x*y", "10.0.0.1", "'a:b|c'", "é", "'a b'", "'{k}'"]
).map(Raw)
counts = st.sampled_from(["0", "1", "2", "5", "1000", "4294967295", "10000", "10001", "0x10"]).map(Raw)
flags = st.sampled_from(["true", "false", "yes", "Off"]).map(Raw)


def one_of(*texts):
    """Draw one of these, as it is spelled."""
    return st.sampled_from(texts).map(Raw)


@st.composite
def maps(draw, needed, others):
    """Draw a map with the keys that are needed and some others; now and then with one value or key that is odd."""
    optional = sorted(others)
    chosen = draw(st.lists(st.sampled_from(optional), max_size=3, unique=True)) if optional else []
    pairs = [(Raw(key), draw({**needed, **others}[key])) for key in (*needed, *chosen)]
    if not pairs or not draw(once_in(40)):
        return Pairs(pairs)
    vandal = draw(st.integers(0, 4))
    at = draw(st.integers(0, len(pairs) - 1))
    if vandal == 0:
        pairs[at] = (pairs[at][0], draw(odd))
    elif vandal == 1:
        pairs[at] = (draw(odd), pairs[at][1])
    elif vandal == 2:
        pairs.append(pairs[at])
    elif vandal == 3:
        del pairs[at]
    elif optional:
        key = draw(st.sampled_from(optional))
        pairs.append((Raw(key), draw(others[key])))
    return Pairs(pairs)


def lists(items, most=3):
    """Draw a list that is not empty, but for now and then."""
    return mostly(st.lists(items, min_size=1, max_size=most), st.just([]), 40)


class _Speller:
    """Writes a tree as text; how, is drawn on the way."""

    def __init__(self, draw, *, anchors):
        self._draw = draw
        self._anchors = anchors
        self._known: dict[str, int] = {}
        self._maps: list[int] = []

    def block(self, tree, indent):
        """Write a tree below its key, from a new line on, or behind the key where it is small."""
        if isinstance(tree, Raw) or not (tree.items if isinstance(tree, Pairs) else tree):
            return " " + self.flow(tree) + "\n"
        if self._draw(once_in(4)):
            return " " + self.flow(tree) + "\n"
        if isinstance(tree, Pairs):
            lines = [f"{indent}{key.text}:{self.block(value, indent + '  ')}" for key, value in tree.items]
            return "\n" + "".join(lines)
        return "\n" + "".join(f"{indent}-{self.block(item, indent + '  ')}" for item in tree)

    def flow(self, tree):
        """Write a tree in brackets, or as an alias of an equal one that was written before."""
        if isinstance(tree, Raw):
            return tree.text
        before = len(self._maps)
        if isinstance(tree, Pairs):
            text = "{" + ", ".join(f"{key.text}: {self.flow(value)}" for key, value in tree.items) + "}"
        else:
            text = "[" + ", ".join(map(self.flow, tree)) + "]"
        return self._anchored(tree, text, self._maps[:before]) if self._anchors else text

    def _anchored(self, tree, text, complete):
        if text in self._known:
            return f"*a{self._known[text]}"
        number = self._known[text] = len(self._known)
        if isinstance(tree, Pairs):
            self._maps.append(number)
            if complete and self._draw(once_in(8)):
                text = f"{{<<: *a{self._draw(st.sampled_from(complete))}, {text[1:]}"
        return f"&a{number} {text}"


@st.composite
def spelled(draw, trees):
    """Draw a tree and a way to write it."""
    tree = draw(trees)
    if isinstance(tree, Raw):
        return tree.text
    text = _Speller(draw, anchors=draw(once_in(4))).block(tree, "").lstrip(" \n")
    kind = draw(st.integers(0, 15))
    if kind == 1:
        text = "# a comment\n%YAML 1.1\n---\n" + text
    elif kind == 2:
        text = "---\n" + text + "...\n---\nbroken: [\n"
    elif kind == 3:
        text = text.replace("\n", "\r\n")
    elif kind == 4:
        text = text.rstrip("\n")
    elif kind == 5:
        text = text.replace("  ", "\t", draw(st.integers(1, 3)))
    elif kind == 6:
        text = "\ufeff" + text
    return text


DAMAGE = [
    "\x00",
    "\x07",
    "\x85",
    "\u2028",
    "\t",
    "\r",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    "&",
    "*",
    "!",
    "#",
    "|",
    ">",
    "'",
]
DAMAGE += ['"', "%", "@", "`", "\n", "\n\n", "\n  ", "\n- ", "...", "---", "<<", "? ", "\U0001f4a9", "\ufffe"]


@st.composite
def damaged(draw, texts):
    """Draw a text and change a place or two; or write it in another encoding."""
    text = draw(texts)
    kind = draw(st.integers(0, 7))
    if kind == 0:
        return text.encode(draw(st.sampled_from(["utf-16", "utf-16-be", "utf-32", "latin-1"])), errors="replace")
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(text)))
        length = draw(st.integers(1, 30))
        part = draw(st.sampled_from(DAMAGE))
        changes = [
            text[:at] + text[at + length :],
            text[: at + length] + text[at:],
            text[:at] + part + text[at:],
            text[:at],
        ]
        text = draw(st.sampled_from(changes))
    said = text.encode()
    if kind == 1 and said:
        at = draw(st.integers(0, len(said) - 1))
        said = said[:at] + draw(st.binary(min_size=1, max_size=3)) + said[at + 1 :]
    return said


def files(trees):
    """Draw a file: four of five are as they were spelled, one is damaged."""
    whole = spelled(trees)
    return mostly(whole.map(str.encode), damaged(whole), 5)


SIZES = [(3, 30), (5, 10), (9, 10), (30, 2), (60, 3), (4, 40), (2, 600), (3, 600)]
AROUND = ["[%s]", "{%s}", "{<<: [%s]}", "{key: a, descriptors: [%s]}"]


def bombs(template):
    """Write short texts that mean much, at ``%s`` of a template: aliases of aliases, so many levels of so many."""
    for (levels, width), around in product(SIZES, AROUND):
        lines = ["&b0 {x: y}"]
        for number in range(1, levels):
            items = [f"*b{number - 1}"] * width
            if around == "{%s}":
                items = [f"k{place}: {item}" for place, item in enumerate(items)]
            lines.append(f"&b{number} " + around % ", ".join(items))
        yield (template % ("[" + ", ".join(lines) + "]")).encode()
