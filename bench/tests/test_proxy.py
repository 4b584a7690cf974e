"""The benchmark of the fallback proxy."""

import shutil

import pytest

from bench import proxies, proxy
from bench.policy import PLENTY
from bench.proxy import Case
from ratelimitd.gateway.file import read_gateway
from testkit.errors import BenchError
from testkit.machine import cores

FEW, MANY = Case("same", 32), Case("same", 128)
PLAIN, FULL = (proxies.KINDS[0].name, proxies.FULL)


@pytest.fixture(scope="session")
def where():
    """The cores to use; skips if nginx or Redis is missing or there is only one core."""
    try:
        proxy._check_tools()
        return cores()
    except BenchError as error:
        pytest.skip(str(error))


def _round(**numbers):
    usual = {"rate": 1000.0, "cpu": 5e-5, "p50": 1e-3, "p99": 2e-3, "worst_p99": 3e-3, "slow_share": 0.1}
    return usual | {"waited": 0.01, "rss": 64 << 20, "busy": 0.5, "failed": 0.0} | numbers


def test_ours_stands_beside_each_peer_under_the_same_load():
    """A ratio is the median of those of the rounds, to a peer with as many connections; a peer has none."""
    found = {
        (FEW, proxies.NGINX): [_round(rate=4000.0), _round(rate=400.0), _round(rate=4000.0)],
        (FEW, PLAIN): [_round(rate=1000.0), _round(rate=100.0), _round(rate=2000.0)],
        (MANY, PLAIN): [_round()],
    }
    data = proxy._data(found, [proxies.NGINX], [])
    titles = [*proxy.COLUMNS, *proxy.RATIOS]
    rows = [dict(zip(titles, proxy.row(each, [proxies.NGINX]), strict=True)) for each in data]
    assert [(each["proxy"], each["connections"], each["rate"]) for each in rows] == [
        ("nginx", "32", ""),
        (PLAIN, "32", "0.25 (0.25-0.50)"),
        (PLAIN, "128", ""),
    ]


def test_a_run_with_a_failed_request_is_not_quoted():
    """A note names it instead, and a peer that is not quoted gives no ratio."""
    notes: list[str] = []
    found = {(FEW, proxies.NGINX): [_round(), _round(failed=3.0)], (FEW, PLAIN): [_round(), _round()]}
    data = proxy._data(found, [proxies.NGINX], notes)
    assert [each["by"] for each in data] == [PLAIN]
    assert notes == ["same heads, 32 connections, nginx: not quoted, 3 requests failed"]
    assert proxy.row(data[0], [proxies.NGINX])[-3:] == ["", "", ""]


def test_a_proxy_that_waited_for_its_core_is_not_quoted():
    """Its latencies are those of other processes; the note has its CPU, which they change least."""
    notes: list[str] = []
    assert proxy._data({(FEW, PLAIN): [_round(), _round(waited=0.4)]}, [], notes) == []
    waited = "the proxy waited for its core 40% of the time; CPU µs: 50.0"
    assert notes == [f"same heads, 32 connections, {PLAIN}: not quoted, {waited}"]


@pytest.mark.parametrize("limits", [True, False])
def test_the_gateway_file_is_valid_and_limits_only_where_it_says(limits):
    """The file has rate limits only if limits are measured, and the limit is never reached."""
    text = proxies.gateway("127.0.0.1:9", limits=limits)
    gateway = read_gateway("gateway.yaml", text.encode())
    assert len(gateway.routes[0].rate_limits) == limits
    assert str(PLENTY) in text


@pytest.mark.alone
@pytest.mark.redis
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_a_short_run_measures_all_of_them(where, monkeypatch):
    """In a short run no request fails or is limited, of repeated heads or different ones, and logs are written."""
    monkeypatch.setattr(proxy, "CASES", (Case("same", 4), Case("different", 4)))
    monkeypatch.setattr(proxy, "MOST_WAITING", 1.0)
    report = proxy.measure(proxy.Scale(repeats=1, seconds=1.0), [], "")
    ours = [proxies.NGINX, *(kind.name for kind in proxies.KINDS)]
    assert [each["by"] for each in report.data if each["heads"] == "different"][: len(ours)] == ours
    for each in report.data:
        assert each["cpu"]["median"] > 0
        assert 0 < each["p50"]["median"] <= each["p99"]["median"] <= each["worst_p99"]["median"]
        assert 0.75 <= each["slow_share"]["median"] <= 1  # three of four connections


def test_a_log_that_was_not_written_is_an_error(tmp_path):
    """A proxy that does not write its log would look faster than it is."""
    log = tmp_path / "access"
    log.write_text("{}\n")
    with pytest.raises(BenchError, match="3 bytes after 1000 requests"):
        proxy._check_log(log, 1000)


def test_why_requests_failed_is_read_from_the_log(tmp_path):
    """Failed requests are counted by status and reason; successful ones are omitted."""
    log = tmp_path / "access"
    log.write_text(
        '{"status":200,"error":"","limit":""}\n{"status":503,"error":"no store","limit":""}\n'
        '{"status":429,"error":"","limit":"bench.api_key_premium"}\n{"status":503,"error":"no store","limit":""}\n'
    )
    assert proxy.failures(log) == {"503 no store": 2, "429 bench.api_key_premium": 1}
