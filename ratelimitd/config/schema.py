"""JSON Schema of files, for editors: made of the readers of their keys.

The draft is 7, the newest that the YAML language server and VS Code know in full; nothing here needs a later one.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from .readers import (
    ChoiceReader,
    ListReader,
    MapReader,
    NumberReader,
    Reader,
    any_text,
    as_it_is,
    flag,
    name_octets,
    name_text,
    octets,
    seconds,
    share,
    size,
    text,
    value_octets,
)
from .values import DURATION_MAX
from .yaml_nodes import BOOLEAN_WORDS

DRAFT: Final = "http://json-schema.org/draft-07/schema#"

Schema = dict[str, Any]
"""A JSON Schema, or a part of one."""


class About(NamedTuple):
    """What an editor shows of a key.

    Attributes:
        text: a sentence, or two.
        default: value that an absent key stands for; None: there is none.
        examples: values to begin with.
    """

    text: str
    default: Any = None
    examples: tuple[Any, ...] = ()


Abouts = Mapping[str, About]


class Tables(NamedTuple):
    """What a schema is made of.

    Attributes:
        kinds: makers of schemas, by the class of the reader.
        leaves: schemas of the other readers.
        about: by the name of a map in errors (``MapReader.what``), what its keys are.
        more: by the same name, what no reader of a key says, such as that one of two keys is needed.
    """

    kinds: "Mapping[type, Callable[[Tables, Any], Schema]]"
    leaves: Mapping[Reader, Schema]
    about: Mapping[str, Abouts]
    more: Mapping[str, Schema]


def schema_of(tables: Tables, reader: Reader) -> Schema:
    """Return the schema of what a reader accepts. Raises KeyError for a reader that no table has."""
    make = tables.kinds.get(type(reader))
    return tables.leaves[reader] if make is None else make(tables, reader)


def described(schema: Schema, about: About) -> Schema:
    """Return the schema of a key with what an editor shows of it.

    The default is in words: the YAML language server writes each ``default`` below a completed key, all at once, also
    those that contradict each other.
    """
    default = "" if about.default is None else f" Default: {json.dumps(about.default).strip(chr(34))}."
    shown: Schema = {"description": f"{about.text}{default}"}
    if about.examples:
        shown["examples"] = list(about.examples)
    return {**shown, **schema}


def pattern(expression: str, wanted: str) -> Schema:
    """Return what a text must match as a whole, with the words that editors show of another one."""
    return {"pattern": f"^(?:{expression})$", "patternErrorMessage": f"must be {wanted}"}


def any_case(words: "tuple[str, ...] | list[str]") -> str:
    """Return an expression of these words of letters in any case."""
    return "|".join("".join(f"[{each.lower()}{each.upper()}]" for each in word) for word in words)


def nullable(schema: Schema) -> Schema:
    """Return the schema with null, which stands for an absent key."""
    made = dict(schema)
    if "anyOf" in made:
        made["anyOf"] = [*made["anyOf"], {"type": "null"}]
    if "type" in made and "null" not in _types(made):
        made["type"] = [*_types(made), "null"]
    if "enum" in made and None not in made["enum"]:
        made["enum"] = [*made["enum"], None]
    return made


def not_null(schema: Schema) -> Schema:
    """Return the schema without null."""
    left = [each for each in _types(schema) if each != "null"]
    return {**schema, "type": left[0] if len(left) == 1 else left} if left else schema


def one_needed(*keys: str) -> Schema:
    """Return that a map has one of these keys, not as null."""
    return {"anyOf": [{"required": [key], "properties": {key: {"not": {"type": "null"}}}} for key in keys]}


def _types(schema: Schema) -> list[str]:
    found: list[str] | str = schema.get("type", [])
    return [found] if isinstance(found, str) else found


def _map(tables: Tables, reader: MapReader) -> Schema:
    """Return the schema of a map. A key without ``About`` is a KeyError, so each key has one."""
    about = tables.about.get(reader.what, {})
    return {
        "type": "object",
        "properties": {
            key: described(_value(tables, reader, key, inner), about[key]) for key, inner in reader.keys.items()
        },
        **({"required": list(reader.needed)} if reader.needed else {}),
        "additionalProperties": False,
        **tables.more.get(reader.what, {}),
    }


def _value(tables: Tables, reader: MapReader, key: str, inner: Reader) -> Schema:
    schema = schema_of(tables, inner)
    if not reader.null_is_absent:
        return schema
    return not_null(schema) if key in reader.needed else nullable(schema)


def _list(tables: Tables, reader: ListReader) -> Schema:
    least: Schema = {"minItems": reader.least} if reader.least else {}
    return {"type": "array", **least, "items": schema_of(tables, reader.item)}


def choice(reader: ChoiceReader) -> Schema:
    """Return the schema of one of several texts."""
    return {"type": "string", "enum": list(reader.choices)}


def whole_number(reader: NumberReader) -> Schema:
    """Return the schema of a whole number. Texts are how YAML 1.2 reads 0b11 and 1_000, numbers to the parser."""
    return {
        "type": ["integer", "string"],
        "minimum": reader.least,
        "maximum": reader.most,
        **pattern(NUMBER, f"{reader.wanted} (without quotes)"),
    }


NUMBER: Final = "[-+]?(?:0[bB][01_]+|[0-9]+_[0-9_]*)"
"""Whole numbers that YAML 1.2 reads as texts."""

FLAG_WORDS: Final = "|".join(word for word in BOOLEAN_WORDS if word.lower() not in ("true", "false"))

TEXT: Final[Schema] = {"type": ["string", "number", "boolean", "null"]}
"""Any scalar: readers of texts take it as it is written."""

SOME_TEXT: Final[Schema] = {**TEXT, "minLength": 1}

FLAG: Final[Schema] = {"type": ["boolean", "string"], **pattern(FLAG_WORDS, "true or false (without quotes)")}
"""Texts are how YAML 1.2 reads yes and off, which are true and false to the parser."""

_PART: Final = "(?:[0-9]+\\.?[0-9]*|\\.[0-9]+)"
DURATION: Final = f"(?=.*[1-9])(?:{_PART}|(?:{_PART}(?:ns|us|µs|μs|ms|s|m|h))+)"
"""Durations above 0; see ``values.duration``."""

KINDS: Final[Mapping[type, Callable[[Tables, Any], Schema]]] = {
    MapReader: _map,
    ListReader: _list,
    ChoiceReader: lambda _, reader: choice(reader),
    NumberReader: lambda _, reader: whole_number(reader),
}

LEAVES: Final[Mapping[Reader, Schema]] = {
    as_it_is: {},
    any_text: TEXT,
    **dict.fromkeys((text, octets, name_text, name_octets, value_octets), SOME_TEXT),
    flag: FLAG,
    share: {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    seconds: {
        "type": ["string", "number"],
        "exclusiveMinimum": 0,
        "maximum": DURATION_MAX,
        **pattern(DURATION, seconds.wanted),
    },
    size: {
        "type": ["string", "integer"],
        "minimum": 1,
        **pattern("(?=.*[1-9])[0-9]+\\s*(?:[bB]?|[kKmMgG][iI]?[bB]?)", size.wanted),
    },
}
