"""Run the commands of a page as a reader pastes them: ``python -m testkit.pasted PAGE FOLDER``.

The blocks run in their order, as in one terminal that begins in FOLDER: exported variables and the folder pass from one
to the next. A block that stays has a terminal of its own, to which only files pass. Pages name real ports, so run this
in a network namespace: ``isolation`` has the command.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from testkit.blocks import Block, blocks
from testkit.environment import STORE_BUDGET, bare
from testkit.shown import differs

ROOT: Final = Path(__file__).parents[1]

BLOCK_SECONDS: Final = 30.0
"""How long a block may run, or may take until it is ready; one that takes longer is not run."""

END_SECONDS: Final = 20.0
"""The service waits up to 15 s for its last calls."""

SHELL: Final = ("bash", "-e", "-o", "pipefail", "-c")

KEEP: Final = """
[ ! -e "$0" ] || . "$0"
trap 'export -p > "$0"; printf "cd %q\\n" "$PWD" >> "$0"' EXIT
"""
"""Before a block: take over what the blocks before have exported, and leave the same to the next in the file ``$0``."""

_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


class PageError(Exception):
    """A block does not do what the page says. The text names its line, and has what was printed."""


def isolation(*more: str) -> list[str] | None:
    """Return the command that runs another in a network namespace, as root or not; None if that is not permitted.

    ``more`` are options of ``unshare`` for more namespaces.
    """
    for command in (["unshare", "--net", *more], ["unshare", "--net", *more, "--map-root-user"]):
        try:
            done = subprocess.run([*command, "true"], capture_output=True, check=False)
        except FileNotFoundError:
            return None
        if done.returncode == 0:
            return command
    return None


def loopback() -> None:
    """Bring up the loopback interface of a new network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))


def run(page: Path, folder: Path) -> None:
    """Run all blocks of a page, and compare the output that it shows. Raises PageError at the first difference."""
    found = blocks(page.read_text())
    with _Terminals() as terminals:
        for number, block in enumerate(found):
            if block.stops:
                terminals.close()
            if not block.is_command or block.kind == "not run":
                continue
            output = folder.parent / f"{page.stem}-{block.line}.log"
            if block.kind == "stays":
                terminals.open(block, folder, output)
                continue
            printed = _printed(block, folder, output)
            after = found[number + 1 : number + 2]
            if after and after[0].is_output and differs(after[0].text, printed, after[0].language):
                raise PageError(
                    f"line {after[0].line}: the page shows\n{after[0].text}\nbut this was printed\n{printed}"
                )
        terminals.check()


class _Terminals(ExitStack):
    """The terminals whose commands stay in the foreground; leaving the context stops all."""

    def __init__(self) -> None:
        super().__init__()
        self._running: list[tuple[Block, subprocess.Popen[bytes]]] = []

    def open(self, block: Block, folder: Path, output: Path) -> None:
        """Start a block, and wait until it is ready."""
        self._running.append((block, self.enter_context(_staying(block, folder, output))))

    def close(self) -> None:
        """Stop all, after a check."""
        self.check()
        self._running.clear()
        super().close()

    def check(self) -> None:
        """Raise PageError for a command that failed; one that ended well was ended by a command of the page."""
        for block, process in self._running:
            if process.poll():
                raise PageError(f"line {block.line}: ended with {process.returncode} while the page still needs it")


def _printed(block: Block, folder: Path, output: Path) -> str:
    """Run a block to its end; return what it printed. What it left in the background is ended."""
    process = _started(KEEP + block.text, folder, output)
    try:
        code = process.wait(BLOCK_SECONDS)
    except subprocess.TimeoutExpired:
        raise PageError(f"line {block.line}: still running after {BLOCK_SECONDS:g} s\n{_read(output)}") from None
    finally:
        _end(process)
    if code != (int(block.note) if block.kind == "exits" else 0):
        raise PageError(f"line {block.line}: ended with {code}\n{_read(output)}")
    return _read(output)


def _started(text: str, folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """Start a shell in a session of its own, as a terminal would."""
    with output.open("wb") as file:
        return subprocess.Popen(
            [*SHELL, text, str(folder.parent / "exported")],
            cwd=folder,
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


@contextmanager
def _staying(block: Block, folder: Path, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a block whose last command stays, wait until it is ready, and stop it as Ctrl-C does."""
    process = _started(block.text, folder, output)
    try:
        _ready(block, process, output)
        yield process
    finally:
        _end(process)


def _ready(block: Block, process: subprocess.Popen[bytes], output: Path) -> None:
    until = time.monotonic() + BLOCK_SECONDS
    while block.note not in _read(output):
        if process.poll() is not None or time.monotonic() > until:
            raise PageError(f"line {block.line}: no '{block.note}' in\n{_read(output)}")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End all processes of a session: as Ctrl-C does, and those that are left by force."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        os.killpg(process.pid, signal.SIGINT)
        process.wait(END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment of a reader who has installed ratelimitd, and activated the virtual environment.

    What a page pastes is the reader's, and has the default bound of a call to Redis. Here Redis shares the cores with
    other tests, so it gets longer.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PYTHONUNBUFFERED": "1", "HOME": str(folder), "STORE_BUDGET": STORE_BUDGET}
    return {**bare(), "PATH": path, "PYTHONPATH": str(ROOT), **own}


def _read(output: Path) -> str:
    return output.read_text(errors="replace")


def main(arguments: Sequence[str]) -> None:
    """Run a page in a namespace of its own."""
    page, folder = map(Path, arguments)
    loopback()
    try:
        run(page, folder)
    except PageError as error:
        sys.exit(f"{page}: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
