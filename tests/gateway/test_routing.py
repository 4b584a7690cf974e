"""Which route a request takes."""

import pytest

from ratelimitd.gateway.routing import Router, counted_headers, repeated

from .files import ask, gateway, limits


def name(match, **request):
    """The route taken where only one matches specially; the last one takes the rest."""
    return ask(Router(gateway({"name": "it", "match": match}, {"name": "rest"})), **request)[0]


@pytest.mark.parametrize(
    ("match", "taken", "not_taken"),
    [
        ({"prefix": "/api/"}, ["/api/", "/api/x", "/x/../api/x", "/%61pi/x", "//api/x"], ["/api", "/x/api/", "/API/"]),
        ({"path": "/api"}, ["/api", "/x/../api"], ["/api/", "/apis"]),
        ({"regex": "/v[0-9]+/items"}, ["/v1/items"], ["/v1/items/2", "/x/v1/items", "/va/items"]),
        ({}, ["/", "/any"], []),
    ],
)
def test_paths_are_matched_as_they_are_after_normalisation(match, taken, not_taken):
    """By prefix, whole, or by an RE2 expression of the whole; never with the query."""
    assert {name(match, path=path, query="/api/") for path in taken} <= {"it"}
    assert {name(match, path=path, query="/api") for path in not_taken} <= {"rest"}


@pytest.mark.parametrize(
    ("pattern", "taken", "not_taken"),
    [
        ("example.org", ["example.org", "EXAMPLE.org:8080"], ["a.example.org", "example.org.evil"]),
        ("*.Example.org", ["a.example.org", "a.b.example.org:1"], ["example.org", ".example.org"]),
        ("example.*", ["example.org", "example.com:80"], ["example.", "an.example.org"]),
        ("[2001:db8::1]", ["[2001:DB8::1]:80", "[2001:db8::1]"], ["[2001:db8::2]"]),
        ("*", ["any", ""], []),
    ],
)
def test_hosts_are_matched_without_port_and_case(pattern, taken, not_taken):
    """A wildcard at one end stands for at least one character."""
    assert {name({"hosts": ["other", pattern]}, authority=host) for host in taken} <= {"it"}
    assert {name({"hosts": ["other", pattern]}, authority=host) for host in not_taken} <= {"rest"}


@pytest.mark.parametrize(
    ("header", "taken", "not_taken"),
    [
        ({"exact": "a"}, [["a"], ["b", "a"]], [["A"], ["ab"], []]),
        ({"prefix": "a"}, [["ab"]], [["ba"], []]),
        ({"suffix": "a"}, [["ba"]], [["ab"], []]),
        ({"contains": "a"}, [["bab"]], [["b"], []]),
        ({"regex": "a|b"}, [["a"], ["b"]], [["ab"], []]),
        ({"regex": ".*bot.*"}, [["bot\xff"], ["\xe9bot"]], [["\xe9"]]),
        ({"present": True}, [["a"], [""]], [[]]),
        ({"present": False}, [[]], [["a"]]),
        ({}, [["a"]], [[]]),
        ({"exact": "a", "invert": True}, [["b"]], [["a"], []]),
        ({"string_match": {"exact": "A", "ignore_case": True}}, [["a"]], [["b"]]),
        ({"string_match": {"exact": "a"}}, [["a"]], [["ab"], []]),
        ({"string_match": {"prefix": "a"}}, [["ab"]], [["ba"]]),
        ({"string_match": {"suffix": "a"}}, [["ba"]], [["ab"]]),
        ({"string_match": {"contains": "a"}}, [["bab"]], [["b"]]),
        ({"string_match": {"safe_regex": {"regex": "a+"}}}, [["aa"]], [["ab"]]),
        ({"string_match": {"safe_regex": {"regex": "a+", "google_re2": {}}}}, [["aa"]], [["ab"]]),
        ({"present_match": True}, [["a"], [""]], [[]]),
        ({"present_match": False}, [[]], [["a"]]),
        ({"string_match": {"exact": "a"}, "invert_match": True}, [["b"]], [["a"], []]),
        ({"exact": "", "treat_missing_header_as_empty": True}, [[], [""]], [["a"]]),
    ],
)
def test_headers_are_matched_line_by_line(header, taken, not_taken):
    """In our words or in Envoy's; one line that matches is enough. Regular expressions are RE2, google_re2 or not."""
    match = {"headers": [{"name": "X-A", **header}]}
    for expected, cases in (("it", taken), ("rest", not_taken)):
        for values in cases:
            assert name(match, headers=[("x-A", value) for value in values]) == expected


def test_methods_are_matched():
    """Each that is listed."""
    assert [name({"methods": ["GET", "PUT"]}, method=method) for method in ("GET", "PUT", "POST")] == ["it"] * 2 + [
        "rest"
    ]


def test_the_first_route_of_the_file_that_matches_is_taken():
    """However well a later one fits; none is None."""
    router = Router(gateway({"name": "a", "match": {"prefix": "/a"}}, {"name": "b", "match": {"path": "/ab"}}))
    assert ask(router, path="/ab")[0] == "a"
    assert ask(router, path="/b") is None


def test_a_hostile_path_costs_no_more_than_its_length():
    """An expression that backtracking would take for ever over is decided at once."""
    assert name({"regex": "/(a+)+b"}, path="/" + "a" * 4000) == "rest"


def test_a_second_line_of_a_counted_header_is_found():
    """X-API-Key always, and each header that makes an entry, unless it is a list or a part of the request line."""
    names = ("X-Token", "Accept", "X-Forwarded-For", ":path")
    actions = [{"request_headers": {"header_name": name, "descriptor_key": "k"}} for name in names]
    counted = counted_headers(gateway({"rate_limits": [limits(*actions)]}))
    assert counted == {b"x-api-key", b"x-token"}
    assert repeated([b"x-token", b"a", b"a", b"x-token"], counted) == b"x-token"
    assert repeated([b"x-token", b"x-api-key", b"a", b"a"], counted) is None
