"""What an operator sees of the connections of all ports: metrics, and warnings of a minute."""

from structlog.testing import capture_logs

from ratelimitd.app.connections import Connections, look
from ratelimitd.app.files import Division
from ratelimitd.app.refusals import REPEAT, HttpRefusals
from ratelimitd.http1 import Sweeper
from ratelimitd.net.peers import Peer
from ratelimitd.net.places import Bounds, Places
from ratelimitd.observe.metrics import family_text

UNIX = Peer("", exempt=True)


class Idle:
    asked, idle_since = True, 0.0


def full(number):
    places = Places(Bounds(number))
    for _ in range(number):
        places.enter(Idle(), UNIX, 0.0)
    return places


def test_each_port_has_its_metrics():
    """Open connections, places, those that made room, and those refused, by reason."""
    refusals = HttpRefusals()
    connections = Connections(Division(10, 5, 0), (), Sweeper(), refusals, {"grpc": full(2)})
    families = connections.families()
    connections.listening["http"] = http = full(3)
    http.make_room(UNIX, 9.0)
    connections.clients("http").turned_away("address", "10.0.0.1")
    text = "".join(map(family_text, families))
    assert [line for line in text.splitlines() if line[0] != "#"] == [
        'ratelimitd_connections{port="grpc"} 2',
        'ratelimitd_connections{port="http"} 2',
        'ratelimitd_connection_places{port="grpc"} 2',
        'ratelimitd_connection_places{port="http"} 3',
        'ratelimitd_connections_made_room_total{port="grpc"} 0',
        'ratelimitd_connections_made_room_total{port="http"} 1',
        'ratelimitd_http_refused_total{port="http",reason="address"} 1',
    ]


def test_the_clients_of_a_port_are_bounded_by_its_files():
    """As the division says, and by TRUSTED_PEERS."""
    clients = Connections(Division(10, 5, 0), ("10.0.0.0/8",), Sweeper(), HttpRefusals(), {}).clients("http")
    assert (clients.most, clients.trusted) == (5, ("10.0.0.0/8",))


def test_room_that_was_made_is_one_warning():
    """Of each port, with the number since the last look; none while no connection made room."""
    listening = {"grpc": full(2), "http": full(3)}
    with capture_logs() as logs:
        before = look(listening, {})
        for _ in range(2):
            listening["http"].make_room(UNIX, 9.0)
            listening["http"].enter(Idle(), UNIX, 9.0)
        before = look(listening, before)
        look(listening, before)
    assert [(line["port"], line["open"], line["places"], line["since_last_warning"]) for line in logs] == [
        ("http", 3, 3, 2)
    ]


def test_a_refused_http_client_is_one_warning_a_minute():
    """For each port and reason, with the address and what to do."""
    now = [0.0]
    refusals = HttpRefusals(lambda: now[0])
    with capture_logs() as logs:
        for second in (0.0, 1.0, REPEAT):
            now[0] = second
            refusals.of("http")("address", "10.0.0.1")
        refusals.of("debug")("address", "10.0.0.1")
        refusals.of("debug")("files", "")
    assert [(line["port"], line["reason"], line["peer"], line["since_last_warning"]) for line in logs] == [
        ("http", "address", "10.0.0.1", 1),
        ("http", "address", "10.0.0.1", 2),
        ("debug", "address", "10.0.0.1", 1),
        ("debug", "files", "unknown", 1),
    ]
    assert "TRUSTED_PEERS" in logs[0]["change"]
