"""Keys without the token are hashes, and an API key is in no document, whatever it is."""

from hashlib import sha256

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ratelimitd.descriptor_text import show
from ratelimitd.limiter import LimitRequest
from ratelimitd.live import shown_descriptor
from ratelimitd.policy import Descriptor
from tests.live.watched import Watched

USER = b"4:user"
POLICY = """
domain: d
descriptors:
- {key: user, rate_limit: {unit: hour, requests_per_unit: 1}}
- key: method
  value: GET
  descriptors: [{key: user, rate_limit: {unit: hour, requests_per_unit: 1}}]
- {key: path, value: /a*, share_threshold: true, rate_limit: {unit: hour, requests_per_unit: 1}}
"""
API_KEY = b"hunter2-hunter2"
IDENTITY = f"""
domain: d
identity: {{key: api_key, otherwise: ip, tiers: {{gold: ["sha256:{sha256(API_KEY).hexdigest()}"]}}}}
descriptors:
- {{key: api_key, value: gold, rate_limit: {{unit: hour, requests_per_unit: 1}}}}
- {{key: ip, rate_limit: {{unit: hour, requests_per_unit: 1}}}}
"""


def key_of(watched, path, plain=False):
    (key,) = watched.limit(path, plain=plain)["keys"]
    return key["key"], key["descriptor"]


def test_a_value_of_a_request_is_hashed():
    """The same key has the same hash with the same secret, and another one with another secret; no document has it."""
    texts = set()
    for secret in (b"one", b"one", b"two"):
        watched = Watched(POLICY, secret=secret)
        for _ in range(2):
            watched.call("user=alice-in-clear")
        text, descriptor = key_of(watched, USER)
        assert descriptor is None
        assert watched.denials(plain=False)[0]["key"] == text
        assert "alice-in-clear" not in watched.everything(plain=False)
        texts.add(text)
        assert key_of(watched, USER, plain=True) == ("user=alice-in-clear", "user=alice-in-clear")
    assert len(texts) == 2
    assert all(text.startswith("user=#") and len(text) == len("user=#") + 10 for text in texts)


def test_what_the_policy_names_is_shown():
    """A configured value, and a pattern that all of its values share."""
    watched = Watched(POLICY)
    watched.call("method=GET,user=x")
    watched.call("path=/abc")
    assert key_of(watched, b"10:method_GET4:user")[0].startswith("method=GET,user=#")
    assert key_of(watched, b"8:path_/a*") == ("path=/a*", None)


@pytest.mark.parametrize("length", [200, 5_000])
def test_a_long_value_is_cut(length):
    """It cannot be looked up by what is kept, and its hash is that of all of it."""
    watched = Watched(POLICY)
    watched.call("user=" + "x" * length)
    watched.call("user=" + "x" * length + "y")
    keys = watched.limit(USER)["keys"]
    assert [(key["key"], key["descriptor"]) for key in keys] == [("user=" + "x" * 128 + "...", None)] * 2
    assert len({key["key"] for key in watched.limit(USER, plain=False)["keys"]}) == 2


def test_many_entries_are_cut():
    """Only the first eight are kept."""
    policy = "domain: d\ndescriptors:\n"
    for level in range(20):
        policy += "  " * level + f"- key: k{level}\n"
        policy += "  " * level + (
            "  descriptors:\n" if level < 19 else "  rate_limit: {unit: day, requests_per_unit: 1}\n"
        )
    watched = Watched(policy)
    watched.call(",".join([f"k{level}=v" for level in range(20)]))
    (row,) = watched.limits()["limits"]
    path = b"".join([b"%d:%b" % (len(name), name.encode()) for name in row["path"]])
    text, descriptor = key_of(watched, path, plain=True)
    assert text.endswith("k7=v,...=")
    assert descriptor is None


def test_a_known_api_key_is_its_tier_and_a_hash():
    """Also with the token; and it cannot be looked up by that."""
    watched = Watched(IDENTITY)
    watched.call(f"api_key={API_KEY.decode()},ip=10.1.2.3")
    text, descriptor = key_of(watched, b"12:api_key_gold", plain=True)
    assert text.startswith("api_key=gold#")
    assert descriptor is None
    assert key_of(watched, b"12:api_key_gold")[0] == text
    watched.call("api_key=unknown-key,ip=10.1.2.3")
    assert key_of(watched, b"2:ip", plain=True) == ("ip=10.1.2.3", "ip=10.1.2.3")


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=8, max_size=400), st.booleans())
@example(b"a" * 300, True)
@example(b"gold-and-more", True)
def test_no_document_has_an_api_key(key, known):
    """Nor a part of it, nor its pseudonym; also of a key that is unknown, with the token as well."""
    policy = IDENTITY.replace(sha256(API_KEY).hexdigest(), sha256(key).hexdigest()) if known else IDENTITY
    watched = Watched(policy)
    for _ in range(3):
        watched.ask(LimitRequest(b"d", (Descriptor(((b"api_key", key), (b"ip", b"10.1.2.3"))),)))
    ask = watched.engine.ask(LimitRequest(b"d", (Descriptor(((b"api_key", key),)),)), lambda same: same)
    pseudonym = ask.plan.items[0].entries[0][1] if known else sha256(key).hexdigest().encode()
    for plain in (True, False):
        text = watched.everything(plain) + repr(shown_descriptor(watched.live.key, ask.plan, 0, plain, show))
        assert show(((b"", key),))[1:] not in text
        assert show(((b"", key[:8]),))[1:] not in text or key[:8].isdigit()
        assert pseudonym.decode()[:12] not in text


def test_a_descriptor_without_a_limit_is_shown_too():
    """For decisions: as it was sent, or hashed."""
    watched = Watched(POLICY)
    request = LimitRequest(b"d", (Descriptor(((b"other", b"secret"),)),))
    plan = watched.engine.ask(request, lambda same: same).plan
    assert shown_descriptor(watched.live.key, plan, 0, True, show) == ("other=secret", "other=secret")
    text, descriptor = shown_descriptor(watched.live.key, plan, 0, False, show)
    assert (text[:7], descriptor) == ("other=#", None)
