"""Rules that make a name and tags of a metric's name, for DogStatsD."""

import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

import re2

_VARIABLE: Final = re.compile(r"\$(\d+)", re.ASCII)


class MogrifierError(ValueError):
    """A rule that cannot be applied; the text names it and says what is wrong."""


class Rule(Protocol):
    """A rule: a pattern, the template of the name, and templates of the values of tags."""

    @property
    def name(self) -> str:
        """Its own name, for errors."""

    @property
    def pattern(self) -> str:
        """Regular expression."""

    @property
    def result(self) -> str:
        """Template of the new name."""

    @property
    def tags(self) -> tuple[tuple[str, str], ...]:
        """Keys, and templates of their values."""


def renamer(rules: Iterable[Rule]) -> Callable[[str], tuple[str, list[tuple[str, str]]]]:
    """Make a function that applies the first rule whose pattern a name contains. Raises MogrifierError."""
    compiled = [(_compiled(rule), rule) for rule in rules]

    def rename(name: str) -> tuple[str, list[tuple[str, str]]]:
        for pattern, rule in compiled:
            found = pattern.search(name)
            if found is not None:
                return _filled(rule.result, found), [(key, _filled(value, found)) for key, value in rule.tags]
        return name, []

    return rename


def _compiled(rule: Rule) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        pattern = re2.compile(rule.pattern, options)
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise MogrifierError(f"failed to compile pattern for {rule.name}: {rule.pattern}: {reason}") from None
    for template in (rule.result, *(value for _, value in rule.tags)):
        for number in map(int, _VARIABLE.findall(template)):
            if number > pattern.groups:
                groups = f"the pattern has {pattern.groups} groups, so write at most ${pattern.groups}"
                raise MogrifierError(f"${number} of mogrifier {rule.name} is no group: {groups}")
    return pattern


def _filled(template: str, found: Any) -> str:
    return _VARIABLE.sub(lambda variable: found[int(variable[1])] or "", template)
