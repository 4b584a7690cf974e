"""The harness finds what is wrong with a page."""

import os
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from testkit import pasted
from testkit.blocks import blocks
from testkit.pasted import PageError, run
from testkit.redis_server import free_port, redis_server
from testkit.shown import differs

ENDED = "until grep -q '^State:.Z' /proc/$(cat pid)/status; do :; done"
"""Waits for the end of the process in the file pid, whose parent has not been told yet."""

SERVE = """echo '{{domain: d, descriptors: [{{key: k, rate_limit: {{unit: day, requests_per_unit: 9}}}}]}}' > p.yaml
REDIS_URL={redis} HOST=127.0.0.1 PORT={port} GRPC_PORT=0 DEBUG_PORT=0 DRAIN_DELAY=0 ratelimitd serve p.yaml"""
ASK = """redis-cli -s {redis} client pause 200 > pause.log
curl -s -o answer.json -w '%{{http_code}}\\n' localhost:{port}/json \\
    -d '{{"domain": "d", "descriptors": [{{"entries": [{{"key": "k", "value": "v"}}]}}]}}'"""


def fenced(text, language="sh", above=""):
    return f"{above}```{language}\n{text}\n```\n"


def running(pid):
    """Whether a process still runs; one that has ended may wait for its parent to be told."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


def ran(tmp_path, *parts):
    page = tmp_path / "page.md"
    page.write_text("\n".join(parts))
    folder = tmp_path / "folder"
    folder.mkdir()
    run(page, folder)
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.process
def test_blocks_run_in_order_in_one_folder(tmp_path):
    """As in one terminal: files, exported variables and the working folder are there for the next."""
    before = fenced("export A='a b'; B=2; echo one > file; mkdir sub; cd sub")
    after = fenced('cat ../file; echo "$A ${B:-none}"; basename $PWD'), fenced("one\na b none\nsub", "text")
    assert ran(tmp_path, before, *after) == ["file", "sub"]


@pytest.mark.process
def test_a_block_that_stays_has_a_terminal_of_its_own(tmp_path):
    """It begins in the folder of the page, and has no variable of the others."""
    stays = fenced(
        'echo "${A:-none} $(basename $PWD)" > said; echo ready; exec sleep 100', above="<!-- stays: ready -->\n"
    )
    said = fenced("cat ../said"), fenced("none folder", "text")
    ran(tmp_path, fenced("export A=1; mkdir sub; cd sub"), stays, *said)


@pytest.mark.process
@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([fenced("true"), fenced("false\ntrue")], "line 6: ended with 1"),
        ([fenced("false | true")], "line 2: ended with 1"),
        ([fenced("exit 2", above="<!-- exits: 1 -->\n")], "line 3: ended with 2"),
        ([fenced("echo b"), fenced("a", "text")], "but this was printed\nb"),
        ([fenced("echo '{\"a\": 1}'"), fenced('{"a": 2}', "json")], "the page shows"),
        ([fenced("true", above="<!-- stays: ready -->\n")], "no 'ready' in"),
        (
            [fenced("echo $$ > pid; echo ready; exit 3", above="<!-- stays: ready -->\n"), fenced(ENDED)],
            "still needs it",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, parts, error):
    """A command that fails anywhere in a block, another exit code, another output, a service that does not stay."""
    with pytest.raises(PageError) as caught:
        ran(tmp_path, *parts)
    assert error in str(caught.value)


@pytest.mark.redis
@pytest.mark.process
def test_an_answer_of_redis_that_is_late_is_waited_for(tmp_path):
    """A busy machine runs Redis late, and pages do there what they say: the service waits longer than its 15 ms."""
    with redis_server() as redis:
        given = {"redis": redis.address, "port": free_port()}
        serve = fenced(SERVE.format(**given), above="<!-- stays: serving -->\n")
        ran(tmp_path, serve, fenced(ASK.format(**given)), fenced("200", "text"))


@pytest.mark.process
def test_a_service_is_stopped_at_ctrl_c_and_at_the_end(tmp_path):
    """It runs for the blocks in between, and none is left."""
    stays = "<!-- stays: ready -->\n"
    service = fenced("echo $$ > pid; echo ready; exec sleep 100", above=stays)
    alive, gone = fenced("kill -0 $(cat pid)"), fenced("! kill -0 $(cat pid) 2>&1")
    ran(tmp_path, service, alive, "<!-- Ctrl-C -->\n", gone, service, alive)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "folder" / "pid").read_text()), signal.SIGTERM)


@pytest.mark.process
@pytest.mark.parametrize("text", ["echo $! > pid; wait", "echo $! > pid"])
def test_a_block_leaves_no_process(tmp_path, monkeypatch, text):
    """Neither one that takes too long, nor one that has left something in the background."""
    monkeypatch.setattr(pasted, "BLOCK_SECONDS", 0.5)
    with pytest.raises(PageError, match="still running") if "wait" in text else nullcontext():
        ran(tmp_path, fenced(f"sleep 100 &\n{text}"))
    pid, until = (tmp_path / "folder" / "pid").read_text().strip(), time.monotonic() + 10
    while running(pid) and time.monotonic() < until:
        pass
    assert not running(pid)


@pytest.mark.process
def test_a_block_that_is_not_run_is_not_run(tmp_path):
    """Whatever it does."""
    assert ran(tmp_path, fenced("touch file", above="<!-- not run: needs Docker -->\n")) == []


@pytest.mark.parametrize(
    ("shown", "printed", "language"),
    [
        ("a …\n", "a b c\n", "text"),
        ("a\n…\nz\n", "a\nb\nc\nz\n", "text"),
        ("a\n…\nz\n", "a\nz\n", "text"),
        ("a\n", "a  \r\n\n", "text"),
        ('{"a": 1.5, "b": "x…"}', '{"b":"xyz","a":7.25}', "json"),
    ],
)
def test_what_varies_is_left_open(shown, printed, language):
    """``…`` in a line, a line of it, blanks at the ends of lines; in JSON layout, fractions and ``…``."""
    assert not differs(shown, printed, language)


@pytest.mark.parametrize(
    ("shown", "printed", "language"),
    [
        ("a …\n", "b c\n", "text"),
        ("a\n", "a\nb\n", "text"),
        ("a.c\n", "abc\n", "text"),
        ('{"a": 1}', '{"a": 2}', "json"),
        ('{"a": 1}', '{"a": 1, "b": 1}', "json"),
        ('{"a": true}', '{"a": 1}', "json"),
        ('{"a": []}', "no JSON", "json"),
        ('{"a": ""}', '{"a": "x"}', "json"),
    ],
)
def test_what_differs_is_found(shown, printed, language):
    """Another text, more lines, other values, other names."""
    assert differs(shown, printed, language)


def test_a_note_belongs_to_the_block_below_it():
    """Blocks have their line, their language, and the indentation of a list taken off."""
    page = "# t\n\n<!-- exits: 1 -->\n```sh\na\n```\n\n- b\n\n  ```text\n  c\n\n    d\n  ```\n"
    first, second = blocks(page)
    assert (first.line, first.kind, first.note, first.text) == (5, "exits", "1", "a\n")
    assert (second.line, second.kind, second.language, second.text) == (11, "", "text", "c\n\n  d\n")
    assert (first.is_output, second.is_output) == (False, False)
