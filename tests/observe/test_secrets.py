"""The password of Redis, wherever it was written, in nothing that is shown."""

import io
from urllib.parse import quote

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from ratelimitd.app.redis import hide_passwords, redis_options
from ratelimitd.observe import logs
from ratelimitd.settings import SettingsError, load
from testkit.examples import examples

CANARY = "canary"

passwords = st.text("aZ0/:@?#%,{}[] é\\\"'", max_size=8).map(lambda junk: CANARY + junk)
FORMS = [
    *(
        "redis://:%s@h:1",
        "redis://u:%s@h",
        "rediss://u:%s@[::1]:1/3",
        "redis://%s@h",
        "redis://u:%s@h:x",
        "redis://u:%s@",
    ),
    *(
        "redis://u:%s@h/x",
        "redis://u:%s@h?x",
        "u:%s@h:1",
        "%s@h",
        "redis:/u:%s@h",
        "redis://u:%s",
        "http://u:%s@h",
    ),
    *(
        "m,redis://u:%s@h:1",
        "redis://u:%s@a:1,redis://u:%s@b:1",
        "redis://u:%s@a:1,redis://u:x@b:1",
        "redis://u:%s@ h:1",
    ),
]
NAMES = ["REDIS_URL", "REDIS_ADDR", "REDIS_PERSECOND_URL"]


def shown(env):
    """All that is shown of settings: what is wrong with them, or how they look, and what a log makes of both."""
    stream = io.StringIO()
    logs._secrets.clear()  # or one password would hide the next
    logs.configure("trace", "json", stream)
    structlog.configure(cache_logger_on_first_use=False)
    log = structlog.stdlib.get_logger("test")
    try:
        read = load(env, {})
    except SettingsError as error:
        log.exception("refused", problems=[str(problem) for problem in error.problems])
        return f"{error} {error!r} {stream.getvalue()}"
    hide_passwords(read)
    options = redis_options(read)
    assert options is not None
    credentials = options.main.credentials()
    log.debug("taken", url=env, settings=read, place=options.main, text=f"it is {credentials.password}")
    return f"{read} {read!r} {options!r} {credentials!r} {read.warnings} {stream.getvalue()}"


@pytest.mark.usefixtures("restored")
@settings(derandomize=True, max_examples=examples(2))
@given(passwords, st.sampled_from(FORMS), st.sampled_from(NAMES), st.sampled_from(["single", "cluster", "sentinel"]))
def test_a_password_in_a_url_is_never_shown(password, form, name, kind):
    """Well or badly written, raw or escaped, a URL's password is in no error, no listing and no log line."""
    for written in (password, quote(password, safe="")):
        env = {"REDIS_URL": "h:1", name: form.replace("%s", written), "REDIS_TYPE": kind, "REDIS_PERSECOND": "true"}
        if name == "REDIS_ADDR":
            del env["REDIS_URL"]
        assert CANARY not in shown(env)


@pytest.mark.usefixtures("restored")
@settings(derandomize=True, max_examples=examples(0.5))
@given(passwords, st.sampled_from(["u:%s", ":%s"]))
def test_a_password_in_redis_auth_is_never_shown(password, form):
    """What REDIS_AUTH and its like hold is in no error, no listing and no log line."""
    for name in ("REDIS_AUTH", "REDIS_SENTINEL_AUTH", "REDIS_PERSECOND_AUTH"):
        assert CANARY not in shown({"REDIS_URL": "h:1", name: form.replace("%s", password), "REDIS_POOL_SIZE": "x"})
        assert CANARY not in shown({"REDIS_URL": "h:1", name: form.replace("%s", password)})
