"""Peers in a table: what ours is of theirs, round by round."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from bench.builds import OURS
from bench.measure import Spread, ratio, spreads
from bench.peer_services import Peer

Rounds = Mapping[str, Sequence[Mapping[str, float]]]
"""The measurements of each service, by its name; the rounds of all are in the same order."""


def of_peers(rounds: Rounds, numbers: Sequence[str]) -> dict[str, dict[str, Spread]]:
    """Return, for each of ours, the spread of its ratio to each peer, by ``number/peer``."""
    peers = [name for name in rounds if name not in OURS]
    pairs = [(number, peer) for peer in peers for number in numbers]
    found = {
        (name, f"{number}/{peer}"): ratios(rounds[name], rounds[peer], number)
        for name in rounds
        if name in OURS
        for number, peer in pairs
    }
    return {
        name: {key: each for (owner, key), each in found.items() if owner == name and each is not None}
        for name in rounds
        if name in OURS
    }


def ratios(ours: Sequence[Mapping[str, float]], theirs: Sequence[Mapping[str, float]], number: str) -> Spread | None:
    """Return the spread of the ratios of each round, in which the machine did the same to both; None without any."""
    pairs = [(mine.get(number), other.get(number)) for mine, other in zip(ours, theirs, strict=False)]
    found = sorted(each for each in (ratio(*pair) for pair in pairs) if each is not None)
    return Spread(median(found), found[0], found[-1]) if found else None


def rows(about: Mapping[str, str], rounds: Rounds, repeats: int, numbers: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each service that was measured in all rounds; the ratios too, of ours."""
    whole = {name: each for name, each in rounds.items() if len(each) == repeats}
    ratios = of_peers(whole, numbers)
    return [
        {**about, "by": name} | {key: value._asdict() for key, value in (spreads(each) | ratios.get(name, {})).items()}
        for name, each in whole.items()
    ]


FORM: Final = "{:.2f}"


def columns(peers: Sequence[Peer], numbers: Mapping[str, str]) -> list[str]:
    """Return the titles of the columns of ratios: of each peer, of each number by its title."""
    return [f"{title} ÷ {each.name}" for each in peers for title in numbers.values()]


def cells(row: Mapping[str, Any], peers: Sequence[Peer], numbers: Mapping[str, str]) -> list[str]:
    """Return the ratios of a row in the order of ``columns``, empty where there is none."""
    found = (row.get(f"{number}/{each.name}") for each in peers for number in numbers)
    return ["" if each is None else Spread(**each).show(FORM.format) for each in found]
