"""Trace contexts: what headers say, who decides on sampling, and what is passed on."""

import pytest
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from ratelimitd.tracing import Context, Parent, Sampler, extract, inject

TRACE, SPAN, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "53ce929d0e0e4736"
W3C = f"00-{TRACE}-{SPAN}-01"
SHORT = OTHER.rjust(32, "0")


def headers(**values):
    """Headers by name; a list is a name that occurs more than once."""
    return {
        name.replace("_", "-"): [each.encode() for each in (value if isinstance(value, list) else [value])]
        for name, value in values.items()
    }


@pytest.mark.parametrize(
    ("found", "parent"),
    [
        ({}, None),
        (headers(x_other="1"), None),
        (headers(traceparent=W3C), Parent(TRACE, SPAN, True)),
        (headers(traceparent=f" {W3C} "), Parent(TRACE, SPAN, True)),
        (headers(traceparent=f"00-{TRACE}-{SPAN}-00"), Parent(TRACE, SPAN, False)),
        (headers(traceparent=f"00-{TRACE}-{SPAN}-03"), Parent(TRACE, SPAN, True, 2)),
        (headers(traceparent=f"00-{TRACE}-{SPAN}-f9"), Parent(TRACE, SPAN, True)),
        (headers(traceparent=f"cc-{TRACE}-{SPAN}-01-more"), Parent(TRACE, SPAN, True)),
        (headers(traceparent=W3C, tracestate="a=1,b=2"), Parent(TRACE, SPAN, True, 0, "a=1,b=2")),
        (headers(traceparent=W3C, tracestate=["a=1", "b=2"]), Parent(TRACE, SPAN, True, 0, "a=1,b=2")),
        (headers(traceparent=W3C, tracestate="a=" + "x" * 511), Parent(TRACE, SPAN, True)),
        (headers(b3=f"{TRACE}-{SPAN}-1"), Parent(TRACE, SPAN, True)),
        (headers(b3=f"{TRACE.upper()}-{SPAN}-1-{OTHER}"), Parent(TRACE, SPAN, True)),
        (headers(b3=f"{OTHER}-{SPAN}-d"), Parent(SHORT, SPAN, True)),
        (headers(b3=f"{TRACE}-{SPAN}-0"), Parent(TRACE, SPAN, False)),
        (headers(b3=f"{TRACE}-{SPAN}"), Parent(TRACE, SPAN, None)),
        (headers(b3="0"), Parent("", "", False)),
        (headers(b3="d"), Parent("", "", True)),
        (headers(x_b3_traceid=TRACE, x_b3_spanid=SPAN), Parent(TRACE, SPAN, None)),
        (headers(x_b3_traceid=TRACE, x_b3_spanid=SPAN, x_b3_sampled="1"), Parent(TRACE, SPAN, True)),
        (headers(x_b3_traceid=TRACE, x_b3_spanid=SPAN, x_b3_sampled="false"), Parent(TRACE, SPAN, False)),
        (headers(x_b3_traceid=TRACE, x_b3_spanid=SPAN, x_b3_flags="1"), Parent(TRACE, SPAN, True)),
        (headers(x_b3_traceid=OTHER, x_b3_spanid=SPAN, x_b3_sampled="0"), Parent(SHORT, SPAN, False)),
        (headers(x_b3_sampled="0"), Parent("", "", False)),
        (headers(traceparent=W3C, b3=f"{OTHER}-{OTHER}-0"), Parent(TRACE, SPAN, True)),
        (headers(traceparent="garbage", b3=f"{OTHER}-{SPAN}-1"), Parent(SHORT, SPAN, True)),
        (headers(baggage="a=1"), None),
    ],
)
def test_a_parent(found, parent):
    """traceparent goes before B3, and B3 in one header before B3 in several; what B3 leaves open stays open."""
    assert extract(found) == parent


@pytest.mark.parametrize(
    "found",
    [
        headers(traceparent=value)
        for value in (
            "", "00", f"00-{TRACE}-{SPAN}", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more",
            f"00-{TRACE}-{SPAN}-1", f"00-{TRACE.upper()}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE[1:]}-{SPAN}-01", [W3C, W3C], "\x00" * 55, "é" * 60,
        )
    ]
    + [headers(b3=value) for value in ("", "2", f"{TRACE}-{'0' * 16}-1", f"{'0' * 32}-{SPAN}", f"{TRACE}-{SPAN}-x")]
    + [headers(x_b3_traceid=TRACE), headers(x_b3_spanid=SPAN), headers(x_b3_traceid="x", x_b3_spanid=SPAN)]
    + [headers(tracestate="a=1"), headers(x_b3_sampled="maybe"), headers(x_b3_traceid=[TRACE] * 2, x_b3_spanid=SPAN)],
)  # fmt: skip
def test_what_is_malformed_is_no_parent(found):
    """Whatever a caller sends; its call gets a trace of its own."""
    assert extract(found) is None


@pytest.mark.parametrize(("rate", "sampled"), [(0.0, False), (1.0, True)])
def test_the_rate_decides_without_a_parent(rate, sampled):
    """Also where the parent leaves it open; ids are new, or those of the parent."""
    sampler = Sampler(rate)
    first = sampler.begin(None)
    assert (len(first.trace_id), len(first.span_id), first.parent_id) == (32, 16, "")
    assert first.sampled is sampled
    opened = sampler.begin(Parent(TRACE, SPAN, None))
    assert (opened.trace_id, opened.parent_id, opened.sampled) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize("sampled", [False, True])
def test_the_parent_decides_before_the_rate(sampled):
    """A trace is sampled as a whole, or not at all; tracestate and the bit of a random id are kept."""
    begun = Sampler(1.0 - sampled).begin(Parent(TRACE, SPAN, sampled, 2, "a=1"))
    assert begun == Context(TRACE, begun.span_id, SPAN, 2 + sampled, "a=1", remote=True)
    assert Sampler(1.0 - sampled).begin(Parent("", "", sampled)).sampled is sampled


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 1.0])
def test_the_rate_samples_the_traces_that_the_sdk_samples(rate):
    """By the id alone, so that processes with one rate agree."""
    ours, theirs, make = Sampler(rate), TraceIdRatioBased(rate), RandomIdGenerator()
    for _ in range(500):
        trace_id = make.generate_trace_id()
        wanted = theirs.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE
        assert ours.begin(Parent(f"{trace_id:032x}", SPAN, None)).sampled is wanted


def test_a_child_is_of_the_same_trace():
    """With an id of its own."""
    child = Context(TRACE, SPAN, OTHER, 3, "a=1").child()
    assert child == Context(TRACE, child.span_id, SPAN, 3, "a=1", remote=False)
    assert child.span_id not in {SPAN, OTHER}


@pytest.mark.parametrize(
    ("found", "added"),
    [
        ({}, {b"traceparent": W3C}),
        (headers(traceparent=W3C, tracestate="a=1"), {b"traceparent": W3C}),
        (headers(b3="0"), {b"traceparent": W3C, b"b3": f"{TRACE}-{SPAN}-1"}),
        (
            headers(x_b3_traceid=OTHER, x_b3_spanid=OTHER, x_b3_flags="1"),
            {b"traceparent": W3C, b"X-B3-TraceId": TRACE, b"X-B3-SpanId": SPAN, b"X-B3-Sampled": "1"},
        ),
    ],
)
def test_what_is_passed_on(found, added):
    """traceparent always, and B3 in the form in which it came, so that its readers see the same parent."""
    removed, written = inject(Context(TRACE, SPAN, OTHER, 1), found)
    assert {name: value.decode() for name, value in written} == added
    assert {name.encode() for name in found} - {b"tracestate"} <= removed


@pytest.mark.parametrize(
    ("found", "kept"),
    [
        (headers(traceparent=W3C, tracestate="a=1"), True),
        (headers(traceparent="garbage", tracestate="a=1"), False),
        (headers(b3=f"{TRACE}-{SPAN}-1", tracestate="a=1"), False),
    ],
)
def test_tracestate_stays_with_its_trace(found, kept):
    """That of a traceparent which is not understood belongs to no trace (W3C Trace Context 3.3)."""
    assert (b"tracestate" not in inject(Context(TRACE, SPAN, OTHER, 1), found)[0]) is kept


def test_a_trace_that_is_not_sampled_is_passed_on_as_such():
    """In both forms."""
    _, written = inject(Context(TRACE, SPAN, "", 2), headers(b3="0"))
    assert written == [(b"traceparent", f"00-{TRACE}-{SPAN}-02".encode()), (b"b3", f"{TRACE}-{SPAN}-0".encode())]
