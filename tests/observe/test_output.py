"""stdout and stderr of a service, over real pipes."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ratelimitd.observe.output import BATCH_BYTES, FLUSH_SECONDS, QUEUE_BYTES, Output, Writer, before_end, flush

LINE = "x" * 999 + "\n"
PATIENCE = 30.0
ROOM = QUEUE_BYTES["stdout"]


@contextmanager
def piped(nonblocking=False):
    """An output to a pipe, and the other end of it."""
    reading, writing = os.pipe()
    os.set_blocking(writing, not nonblocking)
    with os.fdopen(writing, "w") as stream, os.fdopen(reading, "rb") as reader:
        output = Output("stdout", stream, Writer(writing))
        yield output, reader
        reader.close()  # what waits is refused, so the thread ends
        assert output.writer.close(PATIENCE)


def fill(output):
    """Write lines until one is dropped; returns the others."""
    accepted = ""
    while len(accepted) < 2 * ROOM:
        line = f"{len(accepted):09} {LINE}"
        output.write(line)
        if output.dropped:
            break
        accepted += line
    return accepted


def collected(reader):
    """Read to the end in a thread."""
    pieces = []
    thread = threading.Thread(target=lambda: pieces.append(reader.read()))
    thread.start()
    return thread, pieces


@pytest.mark.parametrize("nonblocking", [False, True])
def test_a_stream_that_is_not_read_blocks_no_writer(nonblocking):
    """Text is queued up to the bound and then dropped; all that was queued comes out whole and in order.

    It makes no difference that another process made the pipe non-blocking.
    """
    with piped(nonblocking) as (output, reader):
        queued = fill(output)
        assert ROOM // 2 < len(queued) <= ROOM + 2 * BATCH_BYTES
        assert output.dropped == 1
        thread, pieces = collected(reader)
        assert output.writer.close(PATIENCE)
        output._stream.close()
        thread.join(PATIENCE)
        assert pieces == [queued.encode()]


def test_dropped_lines_are_told_once_when_the_reader_is_back():
    """Nothing is told while the queue is full; then the number of lines, once."""
    with piped() as (output, reader), capture_logs() as told:
        fill(output)
        output.write("1\n2\n3\n")
        assert (output.dropped, told) == (4, [])
        while reader.read(1) and output.writer.waiting > ROOM // 2 - len(LINE):
            reader.read1(1 << 20)
        output.write("a\n")
        output.write("b\n")
        [note] = told
        assert (note["log_level"], note["stream"], note["lines"]) == ("warning", "stdout", 4)


def test_a_stream_without_a_reader_is_counted_and_not_told_with_each_line():
    """EPIPE drops lines and raises nothing; there is nothing to tell before the stream takes lines again."""
    with piped() as (output, reader), capture_logs() as told:
        reader.close()
        output.write("a\nb\n")
        assert output.writer.close(PATIENCE)
        assert (output.dropped, output.writer.waiting) == (2, 0)
        output.report()
        assert told == []


def test_a_full_disk_drops_lines():
    """ENOSPC raises nothing either, and later lines are tried."""
    with Path("/dev/full").open("w") as full:
        output = Output("stderr", full, Writer(full.fileno()))
        output.write("a\n")
        output.write("b\n")
        assert output.writer.close(PATIENCE)
        assert output.dropped == 2


def ran(code, **options):
    """Run a program; returns its stdout and stderr."""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE, text=True, **options)
    return done.stdout, done.stderr


@pytest.mark.process
def test_all_that_python_prints_goes_the_same_way():
    """print, the log, warnings and faults that nothing can raise are queued; a crash comes last, and whole."""
    code = """
import logging, sys, threading, warnings
from ratelimitd.observe.logs import configure
from ratelimitd.observe.output import Output, queued_output

class Broken:
    def __del__(self):
        raise ValueError("finalizer")

with queued_output():
    configure("info", "json")
    assert type(sys.stdout) is type(sys.stderr) is type(logging.getLogger().handlers[0].stream) is Output
    print("printed")
    warnings.warn("warned", stacklevel=1)
    Broken()
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
    logging.getLogger("x").error("logged")
    raise RuntimeError("crash")
"""
    out, err = ran(code, capture_output=True)
    assert out == "printed\n"
    places = [
        err.index(text) for text in ("warned", "finalizer", "ZeroDivisionError", '"logged"', "RuntimeError: crash")
    ]
    assert places == sorted(places)


@pytest.mark.process
def test_one_pipe_for_both_streams_keeps_their_order():
    """With 2>&1 there is one queue, so lines are in order and whole."""
    code = """
import sys
from ratelimitd.observe.output import queued_output
with queued_output():
    for at in range(100):
        print(f"{at} {'x' * 1000}", file=(sys.stdout, sys.stderr)[at % 2])
"""
    out, _ = ran(code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert out == "".join(f"{at} {'x' * 1000}\n" for at in range(100))


@pytest.mark.process
def test_a_closed_stream_is_the_null_device():
    """A process that was started without stdin or stderr starts, and has no file of its own in their place."""
    code = """
import os, sys
from ratelimitd.observe.output import queued_output
with queued_output():
    print("lost", file=sys.stderr)
    print(*[os.readlink(f"/proc/self/fd/{number}") for number in (0, 2)])
"""
    done = subprocess.run(
        ["sh", "-c", f'"{sys.executable}" -c "$0" <&- 2>&-', code], stdout=subprocess.PIPE, check=True
    )
    assert done.stdout == b"/dev/null /dev/null\n"


@pytest.mark.process
def test_the_end_does_not_wait_for_a_reader():
    """What nothing reads is given up at the end of the process, a crash's traceback too; the rest was written."""
    code = """
import sys
from ratelimitd.observe.logs import configure
from ratelimitd.observe.output import dropped_lines, queued_output
with queued_output():
    configure("info", "json")
    for _ in range(3000):
        print("x" * 999, file=sys.stderr)
    print(dict(dropped_lines()))
    raise RuntimeError
"""
    reading, writing = os.pipe()
    try:
        out, _ = ran(code, stdout=subprocess.PIPE, stderr=writing)
    finally:
        os.close(reading)
        os.close(writing)
    dropped = json.loads(out.replace("'", '"'))
    assert dropped["stdout"] == 0
    assert 3000 - ROOM // 1000 < dropped["stderr"] < 3000
    assert FLUSH_SECONDS < PATIENCE / 2


def test_what_is_gathered_elsewhere_is_written_at_the_end():
    """Also where a second signal ends the process: each source is asked once, before the writers end."""
    written = []
    before_end(lambda: written.append("lines"))
    assert flush()
    assert flush()
    assert written == ["lines"]
