"""The keys that the older version and this tree make in Redis, each held against the list of forms."""

import re

import aiohttp
import pytest

from ratelimitd.algorithms import ALGORITHMS
from tests.gateway_process import gateway
from tests.upgrade.asking import replica
from tests.upgrade.forms import FORMS, GATEWAY, OVERFLOW, PROXIED, RATES
from tests.upgrade.versions import printed

pytestmark = [pytest.mark.process, pytest.mark.redis, pytest.mark.slow]


def contents(redis):
    """Return the values in Redis by key; what is in a sorted set with its scores, as one text."""
    found = {}
    with redis.client() as client:
        for key in client.scan_iter():
            if client.type(key) == b"zset":
                value = b" ".join(b"%s %d" % pair for pair in client.zrange(key, 0, -1, withscores=True))
            else:
                value = client.get(key)
            found[key.decode()] = value.decode()
    return found


def fits(form, found):
    """Whether these are keys of that form, each once."""
    return len(form) == len(found) and all(
        any(re.fullmatch(key, name) and re.fullmatch(text, value) for name, value in found.items())
        for key, text in form.items()
    )


async def made(service, redis):
    """Return the keys that each row makes."""
    found = {}
    for name, row in FORMS.items():
        redis.ask("FLUSHALL")
        holds = "reserv" in name or name == "a place"
        await service.ask(row.asked, hits=0 if holds else 1)
        found[name] = contents(redis)
    return found


async def test_a_key_of_this_tree_has_the_last_form_that_is_listed(new, policy, redis):
    """Name and value of each; a change of either has to be listed."""
    async with replica(new, policy, redis) as service:
        found = await made(service, redis)
    others = {name: found[name] for name, row in FORMS.items() if not fits(row.forms[-1], found[name])}
    assert others == {}


async def test_a_key_of_the_older_version_has_a_form_that_is_listed(old, policy, redis):
    """One that this tree has too, or one before it."""
    async with replica(old, policy, redis) as service:
        found = await made(service, redis)
    others = {
        name: found[name] for name, row in FORMS.items() if not any(fits(form, found[name]) for form in row.forms)
    }
    assert others == {}


async def proxied(version, tmp_path, redis):
    """Return the keys that the proxy of that version makes for each row."""
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    env = {"REDIS_URL": redis.address, "REDIS_SOCKET_TYPE": redis.socket_type, "STORE_BUDGET": "20s"}
    found = {}
    async with (
        gateway("--config", str(tmp_path / "gateway.yaml"), env=env, cwd=version) as running,
        aiohttp.ClientSession(f"http://{running.proxy}") as client,
    ):
        for header, (value, _) in PROXIED.items():
            redis.ask("FLUSHALL")
            async with client.get("/", headers={header: value}) as answer:
                assert answer.status == 502  # nothing listens at the upstream
            found[header] = contents(redis)
    return found


async def test_the_proxy_makes_keys_of_forms_that_are_listed(old, new, tmp_path, redis):
    """This tree of the last, the older version of any: what a limit counts by decides the name as well."""
    found = await proxied(new, tmp_path, redis)
    assert {header: found[header] for header, (_, forms) in PROXIED.items() if not fits(forms[-1], found[header])} == {}
    found = await proxied(old, tmp_path, redis)
    assert {
        header: found[header]
        for header, (_, forms) in PROXIED.items()
        if not any(fits(form, found[header]) for form in forms)
    } == {}


@pytest.mark.parametrize("version", ["old", "new"])
def test_keys_beyond_those_that_may_be_new_share_one(version, request):
    """Of the form that is listed. A process redirects keys when it is two minutes old, so its function is called."""
    code = "from ratelimitd.limiter.keys import overflow_key; print(overflow_key({}).decode())"
    for form, arguments in OVERFLOW.items():
        found = printed(code.format(arguments), request.getfixturevalue(version))
        assert re.fullmatch(form, found)


def test_every_algorithm_has_a_form():
    """A new one is listed."""
    assert {"upstream", *ALGORITHMS} - {"fixed_window"} <= {*RATES}
    asked = {key for row in FORMS.values() for key, _ in row.asked.entries}
    assert {*RATES} <= asked
