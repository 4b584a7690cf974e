"""The benchmark of the fallback proxy."""

import shutil

import pytest

from bench import proxy
from bench.policy import PLENTY
from ratelimitd.gateway.file import read_gateway
from testkit.errors import BenchError
from testkit.machine import cores


@pytest.fixture(scope="session")
def where():
    """The cores to use; skips if nginx or wrk is missing or there is only one core."""
    try:
        proxy._check_tools()
        return cores()
    except BenchError as error:
        pytest.skip(str(error))


def _measured(connections, name, **numbers):
    usual = {"rate": 1000.0, "cpu": 5e-5, "p50": 1e-3, "p99": 2e-3, "rss": 64 << 20, "busy": 0.5, "failed": 0.0}
    return {(connections, name): [usual | numbers]}


def test_ours_stands_beside_nginx_with_as_many_connections():
    """A ratio is to nginx with the same load; nginx has none to itself."""
    found = _measured(16, proxy.NGINX, rate=4000.0, p99=1e-3) | _measured(16, "no limits")
    data = proxy._data(found | _measured(128, proxy.NGINX, rate=8000.0), [])
    rows = [dict(zip(proxy.COLUMNS, proxy.row(each, data), strict=True)) for each in data]
    assert [(each["proxy"], each["connections"]) for each in rows] == [
        ("nginx", "16"),
        ("no limits", "16"),
        ("nginx", "128"),
    ]
    assert [each["requests/s vs nginx"] for each in rows] == ["", "0.25", ""]
    assert [each["p99 vs nginx"] for each in rows] == ["", "2.00", ""]


def test_a_run_with_a_failed_request_is_not_quoted():
    """A note names it instead, and without nginx there is no ratio."""
    notes: list[str] = []
    data = proxy._data(_measured(16, proxy.NGINX, failed=3.0) | _measured(16, "no limits"), notes)
    assert [each["by"] for each in data] == ["no limits"]
    assert notes == ["16 connections, nginx: not quoted, 3 requests failed"]
    assert proxy.row(data[0], data)[-2:] == ["", ""]


@pytest.mark.parametrize("limits", [True, False])
def test_the_gateway_file_is_valid_and_limits_only_where_it_says(limits):
    """The file has rate limits only if limits are measured, and the limit is never reached."""
    text = proxy.gateway("127.0.0.1:9", limits=limits)
    gateway = read_gateway("gateway.yaml", text.encode())
    assert len(gateway.routes[0].rate_limits) == limits
    assert str(PLENTY) in text


@pytest.mark.alone
@pytest.mark.redis
@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_a_short_run_measures_all_of_them(where, monkeypatch):
    """In a short run no request fails or is limited, and the access log is written."""
    monkeypatch.setattr(proxy, "CONNECTIONS", (4,))
    monkeypatch.setattr(proxy, "WARMUP", 0.1)
    report = proxy.measure(proxy.Scale(repeats=1, seconds=1.0), "")
    assert [each["by"] for each in report.data] == [proxy.NGINX, *(kind.name for kind in proxy.KINDS)]
    for each in report.data:
        assert each["cpu"]["median"] > 0
        assert 0 < each["p50"]["median"] <= each["p99"]["median"]


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
