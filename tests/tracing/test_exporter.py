"""The queue of spans and its thread, with a real collector that is there, away, slow, or hangs."""

import asyncio

import pytest
from structlog.testing import capture_logs

from ratelimitd.observe.metrics import family_text
from ratelimitd.tracing import Exporter
from ratelimitd.tracing.exporter import BATCH, FAILED, FULL, QUEUE
from testkit.collector import collector
from tests.tracing.making import exporting, otlp, span

PATIENCE = 30.0
"""Seconds until a test that waits fails."""


@pytest.fixture(params=["http", "grpc"])
def protocol(request):
    return request.param


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def add(exporter, count):
    for number in range(1, count + 1):
        exporter.add(span(number))


async def test_spans_are_sent_in_batches(protocol, monkeypatch):
    """All arrive, in order, and no export has more than a batch."""
    async with collector(protocol) as received, exporting(otlp(protocol, received, monkeypatch)) as exporter:
        add(exporter, 2 * BATCH + 5)
        found = await received.has(2 * BATCH + 5)
        await until(lambda: exporter.exported == 2 * BATCH + 5)
    assert [int(each.span_id, 16) for each in found] == list(range(1, 2 * BATCH + 6))
    assert max(received.sizes) <= BATCH
    assert exporter.dropped == {FULL: 0, FAILED: 0}


async def test_a_few_spans_do_not_wait_for_a_batch(protocol, monkeypatch):
    """They are sent after a moment."""
    async with collector(protocol) as received, exporting(otlp(protocol, received, monkeypatch)) as exporter:
        add(exporter, 1)
        assert len(await received.has(1)) == 1


def test_the_queue_is_bounded():
    """What does not fit is dropped and counted; nothing waits."""
    exporter = Exporter("where", lambda spans, rest: "", lambda: None)
    add(exporter, QUEUE + 3)
    assert exporter.dropped == {FULL: 3, FAILED: 0}


async def test_a_collector_that_comes_back_is_told_by_edge(protocol, monkeypatch):
    """Spans of its absence are counted as dropped; there is one line when it goes, and one when it is back."""
    async with collector(protocol) as received:
        received.refuses = True
        made = otlp(protocol, received, monkeypatch, TIMEOUT="200")
        with capture_logs() as lines:
            async with exporting(made) as exporter:
                for failed in (1, 2):
                    add(exporter, 1)
                    await until(lambda failed=failed: exporter.dropped[FAILED] == failed)
                received.refuses = False
                async with asyncio.timeout(PATIENCE):
                    while not exporter.exported:  # a busy machine may need longer than the timeout for one
                        add(exporter, 1)
                        await asyncio.sleep(0.05)
    events = [line["event"] for line in lines]
    assert events[:2] == ["spans cannot be exported", "spans are exported again"]
    assert [events.count(event) for event in events[:2]] == [1, 1]


async def test_the_end_sends_what_waits(protocol, monkeypatch):
    """All of it, also more than a batch, if there is time."""
    async with collector(protocol) as received, exporting(otlp(protocol, received, monkeypatch)) as exporter:
        add(exporter, BATCH + 1)
        await exporter.close(60.0)
        assert len(received.spans) == BATCH + 1
        assert exporter.exported == BATCH + 1


async def test_the_end_does_not_wait_for_a_collector_that_hangs(protocol, monkeypatch):
    """It lasts as long as it may; what was not sent is dropped, counted and told."""
    async with collector(protocol) as received:
        received.answers.clear()
        async with exporting(otlp(protocol, received, monkeypatch, TIMEOUT="3600000")) as exporter:
            add(exporter, BATCH)
            await received.asked(1)
            add(exporter, 7)
            with capture_logs() as lines:
                async with asyncio.timeout(PATIENCE):
                    await exporter.close(0.2)
        assert exporter.exported == 0
        assert exporter.dropped[FAILED] >= 7
        assert "spans are lost" in lines[-1]["event"]


async def test_a_slow_collector_gets_all(protocol, monkeypatch):
    """What comes while it is slow waits in the queue."""
    async with collector(protocol) as received, exporting(otlp(protocol, received, monkeypatch)) as exporter:
        received.answers.clear()
        add(exporter, BATCH)
        await received.asked(1)
        add(exporter, BATCH)
        assert received.spans == []
        received.answers.set()
        assert len(await received.has(2 * BATCH)) == 2 * BATCH


async def test_an_error_of_the_library_does_not_end_the_thread():
    """It is a failed export like others."""

    class Broken:
        calls = 0

        def send(self, spans, rest):
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("a bug")
            return ""

        def stop(self):
            pass

    with capture_logs() as lines:
        async with exporting(broken := Broken()) as exporter:
            add(exporter, 1)
            await until(lambda: broken.calls == 1)
            add(exporter, 1)
            await until(lambda: exporter.exported == 1)
    assert lines[0]["reason"] == "RuntimeError: a bug"


def test_its_metrics():
    """What arrived, and what did not by reason."""
    exporter = Exporter("where", lambda spans, rest: "", lambda: None)
    add(exporter, QUEUE + 2)
    text = "".join(map(family_text, exporter.families()))
    assert "ratelimitd_spans_exported_total 0" in text
    assert 'ratelimitd_spans_dropped_total{reason="queue_full"} 2' in text
    assert 'ratelimitd_spans_dropped_total{reason="export_failed"} 0' in text
