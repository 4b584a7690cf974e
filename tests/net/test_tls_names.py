"""Which names of a client certificate satisfy GRPC_CLIENT_TLS_SAN."""

import pytest

from ratelimitd.net.tls import certificate_names, has_name


@pytest.mark.parametrize(
    ("wanted", "dns", "accepted"),
    [
        ("edge.envoy.internal", ["edge.envoy.internal"], True),
        ("edge.envoy.internal", ["other", "*.envoy.internal"], True),
        ("edge.envoy.internal", ["Edge.Envoy.Internal"], True),
        ("Edge.envoy.INTERNAL", ["*.ENVOY.internal"], True),
        ("edge.envoy.internal.", ["edge.envoy.internal"], True),
        ("*.envoy.internal", ["*.envoy.internal"], True),
        ("edge", ["*"], True),
        ("a.edge.envoy.internal", ["*.envoy.internal"], False),
        ("envoy.internal", ["*.envoy.internal"], False),
        (".envoy.internal", ["*.envoy.internal"], False),
        ("*.envoy.internal", ["edge.envoy.internal"], False),
        ("edge.envoy.internal", ["edge.*.internal"], False),
        ("edge.envoy.internal", ["e*.envoy.internal"], False),
        ("edge.envoy.internal", ["*.*.internal"], False),
        ("*.x.internal", ["*.*.internal"], False),
        ("edge.envoy.internal", [""], False),
        ("edge.envoy.internal", [], False),
        ("spiffe://mesh/ns/edge", ["*"], False),
    ],
)
def test_dns_names_as_in_go(wanted, dns, accepted):
    """Without case; a star is one whole label, the leftmost, of the certificate alone (VerifyHostname, RFC 6125)."""
    assert has_name(wanted, dns, []) is accepted


@pytest.mark.parametrize(
    ("wanted", "others", "accepted"),
    [
        ("spiffe://mesh/ns/edge", ["spiffe://mesh/ns/edge"], True),
        ("spiffe://mesh/ns/edge", ["spiffe://mesh/ns/Edge"], False),
        ("spiffe://mesh/ns/edge", ["spiffe://mesh/ns/*"], False),
        ("ops@mesh", ["ops@mesh"], True),
        ("10.0.0.1", ["10.0.0.1"], True),
        ("2001:db8::1", ["2001:DB8:0:0:0:0:0:1"], True),
        ("[2001:db8::1]", ["2001:DB8:0:0:0:0:0:1"], True),
        ("10.0.0.1", ["10.0.0.2"], False),
        ("edge.envoy.internal", ["*.envoy.internal"], False),
    ],
)
def test_other_names_are_compared_whole(wanted, others, accepted):
    """A URI and an email address must be equal, an IP address the same; a star in one of them is no wildcard."""
    assert has_name(wanted, [], others) is accepted


def test_names_of_a_certificate_by_kind():
    """As Python's ssl returns them; no certificate has none."""
    names = (("DNS", "a"), ("URI", "spiffe://m/x"), ("DNS", "*.b"), ("IP Address", "10.0.0.1"))
    assert certificate_names({"subjectAltName": names}) == (["a", "*.b"], ["spiffe://m/x", "10.0.0.1"])
    assert certificate_names(None) == ([], [])
