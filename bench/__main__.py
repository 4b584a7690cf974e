"""``python -m bench [PART ...]``: measure, and print and write the results."""

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import click

from bench import (
    algorithms,
    attacks,
    cases,
    claim,
    consistency,
    envoy,
    faults,
    idle,
    live,
    loop,
    picture,
    proxies,
    proxy,
    report,
    rls,
)
from bench.builds import OURS
from bench.peer_proxies import PEER_PROXY, PLACES, PeerProxy, peer_proxy
from bench.peer_services import PEER, PEER_PLACES, Peer, peer
from bench.policy import PEERS, peer_files, write_for_peers
from testkit.errors import BenchError
from testkit.server import TRANSPORTS


class Others(NamedTuple):
    """What is measured beside ratelimitd: services for Envoy's rate-limit API, and proxies."""

    services: Sequence[Peer]
    proxies: Sequence[PeerProxy]


Measure = Callable[[bool, Others, str], report.Report]

PARTS: Final[Mapping[str, Measure]] = {
    "rls": lambda quick, others, command: rls.measure(
        cases.QUICK if quick else cases.Scale(), others.services, command
    ),
    "policies": lambda quick, _, command: rls.measure_further(cases.QUICK if quick else cases.Scale(), command),
    "idle": lambda quick, others, command: idle.measure(
        idle.QUICK if quick else idle.Scale(), others.services, command
    ),
    "envoy": lambda quick, others, command: envoy.measure(
        envoy.QUICK if quick else envoy.Scale(), others.services, command
    ),
    "proxy": lambda quick, others, command: proxy.measure(
        proxy.QUICK if quick else proxy.Scale(), others.proxies, command
    ),
    "algorithms": lambda quick, _, command: algorithms.measure(
        algorithms.QUICK if quick else algorithms.Scale(), command
    ),
    "loop": lambda quick, _, command: loop.measure(loop.QUICK if quick else loop.Scale(), command),
    "live": lambda quick, _, command: live.measure(live.QUICK if quick else live.Scale(), command),
    "consistency": lambda quick, _, command: consistency.measure(
        consistency.QUICK if quick else consistency.Scale(), command
    ),
    "faults": lambda quick, _, command: faults.measure(faults.QUICK if quick else faults.Scale(), command),
    "attacks": lambda quick, _, command: attacks.measure(attacks.QUICK if quick else attacks.Scale(), command),
}

TAKES_PEERS: Final = ("rls", "idle", "envoy")


def _peer(text: str) -> Peer:
    try:
        found = peer(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if found.name in {*OURS, *TRANSPORTS}:
        raise click.BadParameter(f"'{found.name}' is a name of ratelimitd in the tables; give the peer another name")
    return found


def _peer_proxy(text: str) -> PeerProxy:
    try:
        found = peer_proxy(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if found.name in proxies.NAMES:
        raise click.BadParameter(f"'{found.name}' is a name in the table already; give the proxy another name")
    return found


def _places() -> str:
    return ", ".join(f"{place} is {value}" for place, value in PEER_PLACES.items())


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument(
    "parts",
    nargs=-1,
    type=click.Choice([*PARTS, "policy"]),
    metavar="[rls|policies|idle|envoy|proxy|algorithms|loop|live|consistency|faults|attacks|policy]...",
)
@click.option("--quick", is_flag=True, help="A short run; it writes to build/bench/ and not to docs/.")
@click.option(
    "--peer", "peers", multiple=True, metavar=PEER,
    help="Also measure another service, with the policy of the bench, in the rows of rls and envoy with its store, and "
    "in idle. The bench starts COMMAND on the core of the server, in the foreground, waits until it decides by that "
    f"policy, measures its CPU and memory, and ends it with SIGTERM. In COMMAND {_places()}. One that runs already is "
    "given by its address; with its pid and that of its own Redis, they are moved to their cores and measured too.",
)  # fmt: skip
@click.option(
    "--peer-proxy", "peer_proxies", multiple=True, metavar=PEER_PROXY,
    help="Also measure another proxy in the rows of proxy. The bench starts COMMAND on the core of the proxies, and "
    f"ends it with SIGTERM. {PLACES[0]} (or {PLACES[1]} alone) and {PLACES[2]} in it are replaced by the host:port "
    "that the proxy must listen on and forward to; it has to stay in the foreground.",
)  # fmt: skip
def main(parts: Sequence[str], quick: bool, peers: Sequence[str], peer_proxies: Sequence[str]) -> None:
    """Measure all parts, or only these. ``policy`` writes the files that a --peer loads, and prints them."""
    others = Others([_peer(text) for text in peers], [_peer_proxy(text) for text in peer_proxies])
    if "policy" in parts:
        write_for_peers()
        print("\n".join(f"# {PEERS / name}\n{text}" for name, text in peer_files().items()), end="")
        return
    for part in parts or PARTS:
        words = [*(["--quick"] if quick else []), *(f"--peer={text}" for text in peers if part in TAKES_PEERS)]
        words += [f"--peer-proxy={text}" for text in peer_proxies if part == "proxy"]
        command = shlex.join([".venv/bin/python", "-m", "bench", part, *words])
        try:
            found = PARTS[part](quick, others, command)
        except BenchError as error:
            print(f"{part}: {error}", file=sys.stderr)
            sys.exit(1)
        report.show(found)
        picture.draw(found, report.save(found, quick=quick))
        if part == "rls" and not quick and not claim.write(claim.table(found.columns, found.rows)):
            print(f"README.md keeps its claim: it needs --peer {claim.GO}=… and {claim.LIMITADOR}=…", file=sys.stderr)


if __name__ == "__main__":
    main(prog_name="python -m bench")
