"""Callers of a service whose answers are paid for afterwards, such as a language model's."""

import math
from random import Random
from typing import Final, NamedTuple

from ratelimitd.algorithms import SECOND

from .distribution import Distribution

SAMPLE: Final = 50_000
"""Answers from which a load is described: their mean is exact within a percent or two, after 0.1 s."""


class Load(NamedTuple):
    """Callers that each ask, receive an answer as a stream, and think before they ask again.

    Attributes:
        callers: how many there are.
        seconds: length of the simulated time.
        answers: tokens of an answer.
        pace: tokens per second of a stream.
        first_token: seconds until a stream begins.
        think: seconds between an answer and the next question.
        hang_ups: share of the answers during which the caller leaves.
        substitute: tokens that such an answer is charged; 0 if nothing is reported.
        lost: share of the questions whose caller leaves before they are decided, so that no answer follows.
        seed: of all random numbers.
    """

    callers: int
    seconds: float
    answers: Distribution
    pace: Distribution
    first_token: float
    think: float
    hang_ups: float
    substitute: int
    lost: float
    seed: int

    def random(self, caller: int) -> Random:
        """Return the random numbers of a caller, which are the same for each design."""
        return Random(f"{self.seed} {caller}")  # noqa: S311 -- a load, not a secret


class Stream(NamedTuple):
    """An answer.

    Attributes:
        lasts: µs until it ends.
        tokens: what was generated.
        reported: cost in the settlement; 0 if there is none.
    """

    lasts: int
    tokens: int
    reported: int


LOST: Final = Stream(0, 0, 0)


def stream(load: Load, random: Random) -> Stream:
    """Return the next answer of a caller. It takes the same random numbers whatever comes of it."""
    lost, left = random.random() < load.lost, random.random() < load.hang_ups
    tokens, pace, part = max(1, round(load.answers.draw(random))), load.pace.draw(random), random.random()
    if lost:
        return LOST
    generated = math.ceil(tokens * part) if left else tokens
    lasts = round((load.first_token + generated / pace) * SECOND)
    return Stream(lasts, generated, load.substitute if left else tokens)


class Facts(NamedTuple):
    """What a load is like.

    Attributes:
        mean, median, p90: tokens of an answer.
        in_flight: tokens of an answer in flight, on average: a long answer is in flight longer.
        lasts, lasts_p99: seconds of a stream, median and 99th percentile.
    """

    mean: int
    median: int
    p90: int
    in_flight: int
    lasts: float
    lasts_p99: float


def facts(load: Load) -> Facts:
    """Describe a load by a sample of complete answers."""
    random = load._replace(hang_ups=0.0, lost=0.0).random(-1)
    streams = [stream(load._replace(hang_ups=0.0, lost=0.0), random) for _ in range(SAMPLE)]
    tokens, seconds = sorted(each.tokens for each in streams), sorted(each.lasts / SECOND for each in streams)
    half, ninety, last = SAMPLE // 2, SAMPLE * 9 // 10, SAMPLE * 99 // 100
    squares = sum(each * each for each in tokens)
    return Facts(
        round(sum(tokens) / SAMPLE),
        tokens[half],
        tokens[ninety],
        squares // sum(tokens),
        round(seconds[half], 1),
        round(seconds[last], 1),
    )
