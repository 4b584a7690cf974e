"""Who is calling: keys by their tier, everybody else by address, and keys in the clear nowhere."""

import hmac
import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimitd.admin.rlconfig import lines
from ratelimitd.limiter import ENFORCED, NO_LIMIT, Answer, LimitRequest, Planner, PlanOptions, Tallies, key_maker
from ratelimitd.lint import lint
from ratelimitd.policy import Descriptor, Override, PolicyErrors, Unit, identify
from ratelimitd.policy.identity import network_of
from ratelimitd.policy.model import Identity
from ratelimitd.policy_file import examine, parse
from ratelimitd.rls import EncodeOptions
from ratelimitd.rls.encode import response

CANARY = "canary-key-7f31"
POLICY = """
domain: d
default_algorithm: token_bucket
identity:
  key: api_key
  otherwise: remote_address
  tiers:
    premium: [canary-key-7f31, 0123]
    standard: ["sha256:{hashed}"]
descriptors:
  - {{key: api_key, value: premium, rate_limit: {{unit: second, requests_per_unit: 100}}}}
  - {{key: api_key, value: standard, detailed_metric: true, rate_limit: {{unit: second, requests_per_unit: 10}}}}
  - {{key: remote_address, rate_limit: {{unit: second, requests_per_unit: 5}}}}
  - key: path
    rate_limit: {{unit: second, requests_per_unit: 7}}
    descriptors:
      - {{key: api_key, value: prem*, share_threshold: true, rate_limit: {{unit: second, requests_per_unit: 50}}}}
""".format(hashed=sha256(b"hashed").hexdigest())
IDENTITY = Identity(b"api_key", b"remote_address", 64, {sha256(b"k").digest(): b"gold"})


def planner(policy=POLICY, secret=b"pepper", keys=None):
    parsed = parse([("p.yaml", policy.encode())])
    return Planner(parsed, keys or key_maker(b"", safe=True), Tallies(), PlanOptions(identity_secret=secret))


def planned(*entries, **options):
    made = planner(**options)
    return made.plan(LimitRequest(b"d", (Descriptor(tuple(entries)),)))


def errors(identity):
    with pytest.raises(PolicyErrors) as caught:
        parse([("p.yaml", f"domain: d\nidentity: {identity}\n".encode())])
    return str(caught.value)


@pytest.mark.parametrize(("key", "limit"), [(b"canary-key-7f31", 100), (b"0123", 100), (b"hashed", 10)])
def test_a_known_key_has_the_limit_of_its_tier(key, limit):
    """Given in plain text or as its SHA-256, with or without an address."""
    for rest in ((), ((b"remote_address", b"1.2.3.4"),)):
        (charge,) = planned((b"api_key", key), *rest).charges
        assert charge.limit.requests_per_unit == limit


def test_a_known_key_is_counted_alone_whatever_the_address():
    """Two keys of a tier have two counters, and one key has one from everywhere."""
    here, there = ((b"remote_address", address) for address in (b"1.2.3.4", b"5.6.7.8"))
    made = planner()
    keys = [
        made.plan(LimitRequest(b"d", (Descriptor(entries),))).charges[0].key
        for entries in (((b"api_key", b"0123"), here), ((b"api_key", b"0123"), there), ((b"api_key", b"hashed"), here))
    ]
    assert keys[0] == keys[1] != keys[2]


@given(st.binary(), st.binary())
def test_inventing_keys_makes_no_fresh_counter(one, other):
    """Whatever an unknown key is, also a tier's name, the address is charged, and always the same counter."""
    made = planner()
    address = (b"remote_address", b"1.2.3.4")
    bare = made.plan(LimitRequest(b"d", (Descriptor((address,)),)))
    for key in (one, other, b"premium", b"standard", b""):
        plan = made.plan(LimitRequest(b"d", (Descriptor(((b"api_key", key), address)),)))
        assert plan.charges == bare.charges


def test_an_unknown_key_without_an_address_leaves_the_rest():
    """Its entry is dropped; what remains decides, and where nothing remains there is no limit."""
    assert planned((b"api_key", b"?")).charges == ()
    (charge,) = planned((b"path", b"/"), (b"api_key", b"?")).charges
    assert charge.limit.requests_per_unit == 7


def test_a_shared_limit_of_tiers_is_shared():
    """share_threshold over tiers counts all their keys together."""
    keys = {planned((b"path", b"/"), (b"api_key", key)).charges[0].key for key in (b"0123", b"canary-key-7f31")}
    assert len(keys) == 1


def test_an_override_is_counted_by_the_caller():
    """A limit that the request brings holds each key alone, and an invented key by address."""
    made = planner()
    plans = [
        made.plan(LimitRequest(b"d", (Descriptor(entries, override=Override(3, Unit.HOUR)),)))
        for entries in (
            ((b"api_key", b"0123"),),
            ((b"api_key", b"canary-key-7f31"),),
            ((b"api_key", b"?"), (b"remote_address", b"1.1.1.1")),
            ((b"remote_address", b"1.1.1.1"),),
        )
    ]
    first, second, third, fourth = (plan.charges[0].key for plan in plans)
    assert len({first, second, third}) == 3
    assert third == fourth


def test_the_counter_of_a_key_is_its_hmac():
    """With IDENTITY_SECRET an HMAC, without it the plain SHA-256, in hex."""
    descriptor = Descriptor(((b"api_key", b"k"),))
    for secret, digest in ((b"pepper", hmac.digest(b"pepper", b"k", "sha256")), (b"", sha256(b"k").digest())):
        assert identify(IDENTITY, secret, descriptor).counted == ((b"api_key", digest.hex().encode()),)


@pytest.mark.parametrize("safe", [True, False])
@pytest.mark.parametrize("algorithm", ["token_bucket", "fixed_window"])
def test_a_key_in_the_clear_is_nowhere_in_a_plan(safe, algorithm):
    """Not in the charges, the kept request, the matches, the names of metrics or the policy itself."""
    policy = POLICY.replace("token_bucket", algorithm)
    for key in (CANARY, "hashed"):
        made = planner(policy, keys=key_maker(b"", safe=safe))
        entries = ((b"api_key", key.encode()), (b"remote_address", b"1.2.3.4"))
        plan = made.plan(LimitRequest(b"d", (Descriptor(entries), Descriptor(((b"path", b"/"), entries[0])))))
        shown = repr(plan) + repr([charge.rule.tally.stat_key for charge in plan.charges]) + repr(made.policy)
        assert plan.charges
        assert key not in shown


def test_a_key_in_the_clear_is_in_nothing_that_is_told():
    """Not in the dynamic metadata of an answer, nor in the listing of limits."""
    plan = planned((b"api_key", CANARY.encode()), (b"remote_address", b"1.2.3.4"))
    decided = Answer(False, None, (NO_LIMIT,), False)
    told = response(plan, decided, EncodeOptions(dynamic_metadata=True), ENFORCED)
    assert b"api_key=premium" in told
    assert CANARY.encode() not in told
    listing = "".join(line for some in lines(planner().policy) for line in some)
    assert "api_key_premium" in listing
    assert CANARY not in listing


def test_an_entry_of_another_key_stays():
    """Only the two keys of the identity are touched, hits and override never."""
    descriptor = Descriptor(((b"a", b"k"), (b"api_key", b"k"), (b"b", b"c")), (1, Unit.DAY), 3, negative=True)
    found = identify(IDENTITY, b"", descriptor).descriptor
    assert found == descriptor._replace(entries=((b"a", b"k"), (b"api_key", b"gold"), (b"b", b"c")))


@pytest.mark.scenario("a caller that invents keys")
@pytest.mark.parametrize(
    ("address", "prefix", "network"),
    [
        (b"10.0.0.1", 64, b"10.0.0.1"),
        (b"::ffff:10.0.0.1", 64, b"10.0.0.1"),
        (b"2001:db8:0:1:aaaa::1", 64, b"2001:db8:0:1::/64"),
        (b"2001:DB8:0:1::2", 64, b"2001:db8:0:1::/64"),
        (b"2001:db8:0:1::2", 48, b"2001:db8::/48"),
        (b"2001:DB8::1", 128, b"2001:db8::1"),
        (b"10.0.0.0/24", 64, b"10.0.0.0/24"),
        (b"not:an:address", 64, b"not:an:address"),
        (b"\xff:", 64, b"\xff:"),
    ],
)
def test_an_address_is_one_caller(address, prefix, network):
    """IPv4-mapped IPv6 is IPv4, IPv6 counts by its network, and a text that is not an address is unchanged."""
    assert network_of(address, prefix) == network


WRONG = [
    (f"[{CANARY}]", "'identity' must be a map with key, otherwise, tiers"),
    (CANARY, "'identity' must be a map"),
    ("~", "'identity' must be a map"),
    ("{tiers: {}}", "'identity' requires 'key'"),
    ("{key: '', tiers: {}}", "'key' of 'identity' must be a non-empty text"),
    ("{key: 'a*', tiers: {}}", "without '*'"),
    ("{key: a, otherwise: a, tiers: {}}", "'key' and 'otherwise' of 'identity' must differ"),
    ("{key: a}", "requires one of 'tiers' and 'tiers_file', not both"),
    ("{key: a, tiers: {}, tiers_file: b}", "not both"),
    ("{key: a, tiers_file: [b]}", "must be a file name"),
    ("{key: a, tiers_file: b}", "'tiers_file' cannot be read: there is no directory to read it from"),
    ("{key: a, ipv6_prefix: 0, tiers: {}}", "a whole number from 1 to 128"),
    (f"{{key: a, {CANARY}: premium}}", "unknown key in 'identity': it has key"),
    (f"{{key: a, tiers: [{CANARY}]}}", "tiers must be a map"),
    (f"{{key: a, tiers: {{premium: {CANARY}}}}}", "a tier must be a list of keys"),
    (f"{{key: a, tiers: {{premium: {{{CANARY}: 1}}}}}}", "a tier must be a list of keys"),
    (f"{{key: a, tiers: {{premium: [[{CANARY}]]}}}}", "a key must be a non-empty text"),
    (f"{{key: a, tiers: {{premium: [{CANARY}, '']}}}}", "a key must be a non-empty text"),
    (f"{{key: a, tiers: {{premium: [{CANARY}, ~]}}}}", "a key must be a non-empty text"),
    (f"{{key: a, tiers: {{premium: [{CANARY}], gold: [{CANARY}]}}}}", "also in another tier"),
    (f"{{key: a, tiers: {{premium: ['sha256:{CANARY}']}}}}", "must be followed by the 64 hex digits"),
    (f"{{key: a, tiers: {{'{CANARY}*': [x]}}}}", "a tier name must be"),
    (f"{{key: a, tiers: {{premium: [!!binary '{CANARY}?']}}}}", "a key must be base64"),
    (f"{{key: a, tiers: {{premium: [*{CANARY}]}}}}", "an alias (a text that begins with *) names nothing"),
    (f"{{key: a, tiers: {{premium: [{CANARY}}}}}", "not valid YAML"),
    (f"{{key: a}}\ntiers: {{unlimited: [{CANARY}]}}", "'tiers' is not allowed here: write it in 'identity'"),
]


WRONG_FILES = [
    (f"- {CANARY}", "tiers must be a map"),
    (f"premium: [{CANARY}", "not valid YAML: a tiers file is a map from each tier to its list of keys"),
    (f"premium: [{CANARY}]\ngold: [{CANARY}]", "also in another tier"),
]


@pytest.mark.parametrize(("content", "message"), WRONG_FILES)
def test_a_wrong_tiers_file_is_an_error_of_that_file_that_shows_no_key(content, message):
    """The file and the line are those of the tiers file, not of the policy file that names it."""
    text = b"domain: d\nidentity: {key: a, tiers_file: keys}\n"
    (error,) = examine([("p.yaml", text)], beside=lambda _, named: (f"{named}.yaml", content.encode())).errors
    assert message in error.message
    assert (error.file, error.line >= 1) == ("keys.yaml", True)
    assert CANARY not in str(error)


def test_a_tiers_file_that_cannot_be_read_is_an_error_of_the_policy_file():
    """It says why, on the line that names the file."""

    def unreadable(_, named):
        raise PermissionError(13, "Permission denied", named)

    text = b"domain: d\nidentity:\n  key: a\n  tiers_file: keys\n"
    (error,) = examine([("p.yaml", text)], beside=unreadable).errors
    assert (error.file, error.line) == ("p.yaml", 4)
    assert "Permission denied" in error.message


@pytest.mark.parametrize(("identity", "message"), WRONG)
def test_a_wrong_identity_is_an_error_with_its_line_that_shows_no_key(identity, message):
    """It says what to write instead, and repeats nothing that could be a key."""
    said = errors(identity)
    assert message in said
    assert "(line " in said
    assert CANARY not in said


PLACES = st.recursive(
    st.sampled_from([CANARY, "a", "", None, 5, 1.5, True, f"sha256:{CANARY}", f"{CANARY}*"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["premium", "unlimited", "name", "key", CANARY]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("key", "otherwise", "tiers", "tiers_file", "ipv6_prefix", "premium"), PLACES)
    )
    | PLACES
)
def test_wherever_a_key_stands_neither_error_nor_warning_shows_it(identity):
    """Whatever was written into an identity, and however wrong."""
    parsed = examine([("p.yaml", json.dumps({"domain": "d", "identity": identity}).encode())])
    assert CANARY not in str(parsed.errors)
    told = [] if parsed.errors else lint(parsed, {})
    assert CANARY not in str(told) or CANARY in str(identity.get("key"))


def test_a_file_of_keys_taken_for_a_policy_shows_none_of_them():
    """As happens when its name was mistyped: the error is that it has no domain."""
    for tier in ("premium", "unlimited", "name", "descriptors"):
        parsed = examine([("keys.yaml", f"{tier}: [{CANARY}]".encode())])
        assert [str(error) for error in parsed.errors] == [
            "keys.yaml: config file cannot have empty domain: write 'domain: NAME' at the top of the file (line 1)"
        ]


def test_one_file_of_a_merged_domain_says_who_is_calling():
    """Twice would be two truths."""
    text = "domain: d\nidentity: {key: k, tiers: {gold: [a]}}\ndescriptors: [{key: k, rate_limit: {unit: day}}]"
    parsed = examine([("1", text.encode()), ("2", text.replace("k,", "k2,").encode())], merge_domains=True)
    assert "'identity' is also in 1" in str(parsed.errors[0])


def test_many_keys_are_handed_over_in_slices():
    """A table of keys arrives whole, though no slice holds more than a fraction of it."""
    keys = "".join(f"\n      - key-{number}" for number in range(5_000))
    text = f"domain: d\nidentity:\n  key: k\n  tiers:\n    gold:{keys}\ndescriptors:\n- {{key: k, value: gold}}\n"
    identity = parse([("p.yaml", text.encode())]).domains[b"d"].identity
    assert len(identity.tiers) == 5_000
    assert set(identity.tiers.values()) == {b"gold"}
    assert identity.tiers[sha256(b"key-4321").digest()] == b"gold"
