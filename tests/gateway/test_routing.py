"""Which route a request takes."""

import pytest

from ratelimitd.gateway.paths import target
from ratelimitd.gateway.routing import Router, counted_headers, repeated

from .files import ask, gateway, limits, request_of


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


CASE, SLASH = {"ignore_case": True}, {"ignore_trailing_slash": True}


@pytest.mark.parametrize(
    ("match", "taken", "not_taken"),
    [
        ({"path": "/a", **CASE}, ["/a", "/A"], ["/a/", "/b"]),
        ({"path": "/a", **SLASH}, ["/a", "/a/", "/a//"], ["/A", "/ab", "/a/b"]),
        ({"path": "/a/", **SLASH}, ["/a", "/a/"], ["/a/b"]),
        ({"path": "/", **SLASH}, ["/", "//"], ["/a"]),
        ({"path": "/a", **CASE, **SLASH}, ["/A/", "/a"], ["/ab"]),
        ({"prefix": "/aB/", **CASE}, ["/ab/", "/AB/c"], ["/ab"]),
        ({"prefix": "/a/", **SLASH}, ["/a", "/a/", "/a/b"], ["/ab", "/A"]),
        ({"prefix": "/a", **SLASH}, ["/a", "/a/", "/ab"], ["/A"]),
        ({"prefix": "/a/", **CASE, **SLASH}, ["/A", "/a/b"], ["/ab"]),
        ({"regex": "/a|/b", **CASE}, ["/a", "/B"], ["/a/"]),
        ({"regex": "/a$|/b", **SLASH}, ["/a", "/a/", "/b/"], ["/A", "/a/b"]),
        ({"regex": r"/[$]|/\$|/\Q$\E/", **SLASH}, ["/$", "/$/"], ["/"]),
    ],
)
def test_case_and_a_slash_at_the_end_do_not_count_where_the_file_says_so(match, taken, not_taken):
    """ignore_case and ignore_trailing_slash, of a path, a prefix and an expression."""
    assert {name(match, path=path) for path in taken} == {"it"}
    assert {name(match, path=path) for path in not_taken} == {"rest"}


@pytest.mark.parametrize(
    ("match", "taken", "not_taken"),
    [
        ({"path": "/@a"}, ["/@a", "/%40a", "/%40%61"], ["/a", "/@A"]),
        ({"prefix": "/a;b/"}, ["/a;b/", "/a%3Bb/c", "/a%3bb/"], ["/a;b", "/ab/"]),
        ({"path": "/%40+"}, ["/@+", "/%40%2b"], ["/@ "[:2]]),
        ({"path": "/caf%C3%A9"}, ["/caf%C3%A9", "/caf%c3%a9", "/c%61f%c3%A9"], ["/caf%C3%89", "/cafe"]),
        ({"prefix": "/CAF%C3%A9", **CASE}, ["/caf%c3%a9/x"], ["/caf%c3%89"]),
        ({"regex": "/v[0-9]/a:b"}, ["/v1/a:b", "/v1/a%3Ab", "/v1/a%3ab"], ["/v1/a%3Bb", "/v1/ab"]),
        ({"regex": "/caf%C3%A9|/@+"}, ["/caf%c3%a9", "/%40@"], ["/caf%c3%89", "/%400"]),
        ({"regex": r"/\$[@:]\Q*\E"}, ["/$@*", "/%24%40%2a", "/$%3A*"], ["/$%2A*"]),
        ({"regex": "/(?i:a)(?P<n>b){1,2}[[:digit:]]"}, ["/Ab1", "/abb1"], ["/a%3Ab1"]),
        ({"regex": "/@", **SLASH}, ["/%40/", "/@"], ["/%40/a"]),
    ],
)
def test_escapes_of_a_path_are_what_they_stand_for(match, taken, not_taken):
    """Hex digits of either case, and the characters that may stand in a path as they are or escaped."""
    assert {name(match, path=path) for path in taken} == {"it"}
    assert {name(match, path=path) for path in not_taken} == {"rest"}


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        ("/api%2Fexpensive", True),
        ("/api%2f%2Fexpensive", True),
        ("/%2Fapi/expensive", True),
        ("/projects%2F1/issues", True),
        ("/projects/group%2Fit/issues", False),
        ("/files/api%2Fexpensive", False),
        ("/a%2Fb", False),
        ("/api/expensive", False),
    ],
)
def test_an_encoded_slash_hides_no_route(path, hidden):
    """A program that decodes it first serves the page of a route further up; one further down has no stricter limit."""
    matches = ({"path": "/api/expensive"}, {"regex": "/projects/[^/]+/issues"}, {"prefix": "/files/"}, {})
    router = Router(gateway(*({"match": match} for match in matches), encoded_slash="keep"))
    where = target(path.encode(), encoded_slash=True)
    asked = router.asked(request_of(path), where)
    assert router.hides(where.path, asked, router.find(where.path, asked)) == hidden


@pytest.mark.parametrize(
    ("pattern", "taken", "not_taken"),
    [
        (
            "example.org",
            ["example.org", "EXAMPLE.org:8080", "example.org.", "Example.ORG.:1"],
            ["a.example.org", "example.org.evil"],
        ),
        ("*.Example.org", ["a.example.org", "a.b.example.org:1"], ["example.org", ".example.org"]),
        ("example.*", ["example.org", "example.com.:80"], ["example.", "example.:80", "an.example.org"]),
        ("[2001:db8::1]", ["[2001:DB8::1]:80", "[2001:db8::1]"], ["[2001:db8::2]"]),
        ("*", ["any", ""], []),
    ],
)
def test_hosts_are_matched_without_port_case_and_dot(pattern, taken, not_taken):
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


OF_HOST = [
    ({"exact": "A.org"}, ["a.org", "A.ORG", "a.org.", "a.org:80"], ["b.org", "a.org.b"]),
    ({"exact": "a.org:8080"}, ["a.org", "a.org:8080"], ["b.org"]),
    ({"prefix": "a."}, ["A.org:80"], ["b.a.org"]),
    ({"suffix": ".org"}, ["a.ORG.:80"], ["a.com", "org"]),
    ({"contains": ".b."}, ["a.B.org"], ["a.org"]),
    ({"regex": "^[a-z]+[.]org$"}, ["a.org", "B.org.:80"], ["a.com", "1.org"]),
    ({"string_match": {"exact": "[2001:db8::1]"}}, ["[2001:DB8::1]:80"], ["[2001:db8::2]"]),
]


@pytest.mark.parametrize("header", [":authority", "host"])
@pytest.mark.parametrize(("condition", "taken", "not_taken"), OF_HOST)
def test_conditions_on_the_host_are_like_hosts(header, condition, taken, not_taken):
    """Port, case and a dot at the end do not count."""
    match = {"headers": [{"name": header, **condition}]}
    assert {name(match, authority=host) for host in taken} == {"it"}
    assert {name(match, authority=host) for host in not_taken} == {"rest"}


def test_a_limit_by_the_host_has_one_counter_for_all_its_forms():
    """The value of :authority is in lower case, without port and dot."""
    router = Router(gateway({"rate_limits": [limits(*(by(name) for name in (":authority", "host")))]}))
    hosts = ("a.org", "A.Org", "a.org.", "a.org:80", "A.org.:8080")
    found = {ask(router, authority=host)[1][0].entries for host in hosts}
    assert found == {((b":authority", b"a.org"), (b"host", b"a.org"))}


def by(name):
    return {"request_headers": {"header_name": name, "descriptor_key": name}}


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


@pytest.mark.parametrize(
    ("query", "ambiguous"),
    [
        ("a=1&a=2", True),
        ("a=1&b=2&%61=1", True),
        ("b&b=1", True),
        ("c=1&c=2", False),
        ("a=1&A=2&b=3", False),
        ("", False),
        ("a=1&user.id=2", True),
        ("user_id=1&+user_id=2", True),
        ("%20user%2eid", True),
        ("user_id=1&userid=2&user_id_=3&+c=1&&=2", False),
    ],
)
def test_a_second_parameter_that_counts_is_found(query, ambiguous):
    """PHP and Django read the last, Envoy counts the first; parameters that no limit of the route reads may repeat.

    PHP reads blanks and dots as underscores, and none at the beginning.
    """
    blanks = {"query_parameters": {"query_parameter_name": "user_id", "descriptor_key": "k"}}
    by_value = {"query_parameters": {"query_parameter_name": "a", "descriptor_key": "k"}}
    matched = {"query_parameter_value_match": {"descriptor_value": "v", "query_parameters": [{"name": "b"}]}}
    router = Router(gateway({"rate_limits": [limits(by_value), limits(matched), limits(blanks)]}))
    routed = router.find(b"/", router.asked(request_of(), target(b"/")))
    assert routed.is_ambiguous(query.encode()) == ambiguous


def test_a_second_line_of_a_counted_header_is_found():
    """X-API-Key always, and each header of an entry or a match, unless it is a list or a part of the request line."""
    names = ("X-Token", "Accept", "X-Forwarded-For", ":path")
    actions = [{"request_headers": {"header_name": name, "descriptor_key": "k"}} for name in names]
    exact = {"string_match": {"exact": "a"}}
    tested = {"descriptor_value": "v", "headers": [{"name": name, **exact} for name in ("X-Plan", "Via", ":path")]}
    heads = [{"name": "X-Tenant", "prefix": "a"}, {"name": "Host", "exact": "a"}, {"name": "X-There", "present": True}]
    routes = {
        "match": {"prefix": "/", "headers": heads},
        "rate_limits": [limits(*actions, {"header_value_match": tested})],
    }
    counted = counted_headers(gateway(routes))
    assert counted == {b"x-api-key", b"x-token", b"x-plan", b"x-tenant"}
    assert repeated([b"x-token", b"a", b"a", b"x-token"], counted) == b"x-token"
    assert repeated([b"x-token", b"x-api-key", b"a", b"a"], counted) is None


def test_only_a_request_with_an_origin_is_a_preflight():
    """It belongs to the route of the method that it asks for; OPTIONS of a program without Origin does not."""
    cors = {"match": {"prefix": "/", "methods": ["PUT"]}, "cors": {"origins": ["*"]}, "name": "it"}
    router = Router(gateway(cors, {"name": "rest"}))
    asks = [("Access-Control-Request-Method", "PUT")]
    assert ask(router, method="OPTIONS", headers=[*asks, ("Origin", "https://a")])[0] == "it"
    assert ask(router, method="OPTIONS", headers=asks)[0] == "rest"
