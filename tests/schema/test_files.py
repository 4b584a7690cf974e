"""The schemas as files, and what editors take from them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft7Validator

from ratelimitd.cli import main
from ratelimitd.cli.schema import SCHEMAS
from ratelimitd.gateway.about import ACTIONS, GATEWAY
from ratelimitd.gateway.cors_fields import ORIGIN_REGEX
from ratelimitd.gateway.file import gateway_reader
from ratelimitd.gateway.rate_limits import ACTIONS as ACTION_READERS
from ratelimitd.gateway.rate_limits import ENVOY_ACTIONS
from ratelimitd.policy_file.about import OVERLAY, POLICY
from ratelimitd.policy_file.fields import LEVELS
from ratelimitd.policy_file.overlay import FILE

ROOT = Path(__file__).parents[2]


def printed(kind):
    """What the command prints."""
    result = CliRunner().invoke(main, ["schema", kind])
    assert result.exit_code == 0
    return result.stdout


@pytest.mark.parametrize("kind", SCHEMAS)
def test_the_file_is_what_the_command_prints(kind):
    """docs/schema/KIND.json is made by: ratelimitd schema KIND > docs/schema/KIND.json."""
    assert (ROOT / "docs" / "schema" / f"{kind}.json").read_text() == printed(kind)


@pytest.mark.parametrize("kind", SCHEMAS)
def test_a_schema_is_one_of_draft_7(kind):
    """With definitions for each reference."""
    made = json.loads(printed(kind))
    Draft7Validator.check_schema(made)
    assert made["$schema"] == Draft7Validator.META_SCHEMA["$schema"]
    for name in set(references(made)):
        assert name.removeprefix("#/definitions/") in made["definitions"]


def references(schema):
    """Yield every reference in a schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"]
        schema = list(schema.values())
    for inner in schema if isinstance(schema, list) else ():
        yield from references(inner)


def maps_of(reader):
    """Yield (name, keys) of every map that a reader reads."""
    keys = getattr(reader, "keys", {})
    if hasattr(reader, "what"):
        yield reader.what, set(keys)
    for inner in keys.values():
        yield from maps_of(inner)
    if getattr(reader, "item", None) is not None:
        yield from maps_of(reader.item)


def test_no_description_is_of_a_key_that_is_gone():
    """Each key has one, or no schema is made; and each is of a key."""
    assert {level: set(keys) for level, keys in POLICY.items()} == {level: set(keys) for level, keys in LEVELS.items()}
    assert {name: set(keys) for name, keys in OVERLAY.items()} == dict(maps_of(FILE))
    assert set(ACTIONS) == {*ACTION_READERS, *ENVOY_ACTIONS}
    known = {ORIGIN_REGEX.what: set(ORIGIN_REGEX.keys)}
    for name, keys in maps_of(gateway_reader(for_envoy=True)):
        known.setdefault(name, set()).update(keys)
    assert {name: set(keys) for name, keys in GATEWAY.items()} == {name: keys for name, keys in known.items() if keys}


@pytest.mark.parametrize("about", [*POLICY.values(), *OVERLAY.values(), *GATEWAY.values(), ACTIONS])
def test_a_description_is_a_sentence(about):
    """It begins with a capital and ends with a full stop."""
    for key, each in about.items():
        assert each.text[0].isupper(), key
        assert each.text.endswith("."), key


@pytest.mark.parametrize("kind", SCHEMAS)
def test_no_key_has_a_default_that_an_editor_would_write(kind):
    """The YAML language server writes all defaults below a completed key: those of a limit contradict each other."""
    made = printed(kind)
    assert '"default":' not in made
    assert " Default: " in made or kind == "overlay"


def test_a_key_at_a_level_that_ignores_it_is_marked_and_not_rejected():
    """As envoyproxy/ratelimit accepts it; editors show where it belongs."""
    made = json.loads(printed("policy"))
    text = made["patternProperties"]["^unit$"]["deprecationMessage"]
    assert text == "'unit' is ignored here: write it in 'rate_limit', or in an item of 'rate_limits'"
    assert "unit" not in made["properties"]


def test_an_unknown_kind_is_a_usage_error():
    """It lists the kinds."""
    result = CliRunner().invoke(main, ["schema", "policies"])
    assert result.exit_code == 2
    assert "'policy', 'gateway', 'overlay'" in result.stderr
