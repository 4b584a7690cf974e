"""docs/live.md has each field of each document, and no other: what a script relies on."""

import re
from pathlib import Path

import pytest

from tests.app.test_live import TOKEN, WELL, ask, eventually, get, stream
from tests.app.test_live import policy as policy  # noqa: PLC0414 -- a fixture
from tests.service import service

pytestmark = pytest.mark.process

PAGE = Path(__file__).parents[2] / "docs/live.md"
CODE = re.compile(r"`([^`]+)`")


def documented(heading):
    """The fields in the tables of a section: the first column of those whose head is ``field``."""
    section = PAGE.read_text().partition(f"\n### {heading}\n")[2]
    section = re.split(r"\n###? ", section)[0]
    found: set[str] = set()
    inside = False
    for line in section.splitlines():
        first = line.split("|")[1].strip() if line.startswith("|") else ""
        if first == "field":
            inside = True
        elif not first:
            inside = False
        elif inside and not first.startswith("-"):
            found.update(CODE.findall(first))
    assert found, heading
    return found


def paths(value, path=""):
    """The paths of all leaves; those of a list of objects have ``[]``."""
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from paths(each, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for each in value:
            yield from paths(each, f"{path}[]")
    else:
        yield path


def below(path, other):
    return path == other or path.startswith((f"{other}.", f"{other}[]"))


def compare(heading, document):
    fields, found = documented(heading), set(paths(document))
    assert [path for path in found if not any(below(path, field) or below(field, path) for field in fields)] == []
    assert [field for field in fields if not any(below(path, field) or below(field, path) for path in found)] == []


async def test_each_field_is_documented_and_each_documented_field_is_there(policy):
    """Of every document, after a denial; with the token and without, the fields are the same."""
    async with service("--config", str(policy), env={"ADMIN_TOKEN": TOKEN}) as running:
        async with stream(running, "/live/decisions", **WELL) as decisions:
            await decisions.next()
            assert [await ask(running, user="alice") for _ in range(3)] == [200, 200, 429]
            compare("Events", await decisions.named("decision"))
        (denial,) = (await get(running, "/live/denials"))[1]["denials"]
        limit = f"/live/limit?id={denial['id']}"
        pages = {
            "The overview": "/live/overview",
            "The hour": "/live/history",
            "Limits": "/live/limits",
            "A limit": limit,
            "Denials": "/live/denials",
        }
        await eventually(running, "/live/overview", lambda found: found["totals"]["denied"])
        for heading, page in pages.items():
            hashed, plain = (await get(running, page))[1], (await get(running, page, **WELL))[1]
            assert set(paths(hashed)) == set(paths(plain))
            compare(heading, plain)
            assert plain["version"] == 1
        async with stream(running, f"/live/events?id={denial['id']}") as events:
            (row,) = (await events.named("limits"))["limits"]
            assert set(row) == {"id", "rates", "totals", "active_keys", "use"}
            assert set(await events.named("limit")) == set((await get(running, limit))[1])


async def test_each_page_is_documented(policy):
    """The list of the service and that of docs/live.md name the same."""
    async with service("--config", str(policy)) as running:
        listed = set((await get(running, "/live/"))[1])
    section = PAGE.read_text().partition("\n## JSON\n")[2].partition("\n### ")[0]
    assert {path.partition("?")[0] for path in CODE.findall(section) if path.startswith("/live/")} == listed
