"""``rate_limit`` and ``rate_limits`` of a descriptor: from their fields to Limits."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from ratelimitd.algorithms import SECOND, Rate, RateError, make_rate
from ratelimitd.config.problems import Notes
from ratelimitd.config.readers import Fields
from ratelimitd.config.yaml_nodes import YamlList, YamlMap
from ratelimitd.policy import UNIT_SECONDS, UPSTREAM_ALGORITHM, Charging, Limit, OnStoreFailure, Unit

from .fields import OWN_KEYS, maps_of, read_fields
from .holds import COUNTED, read_places, read_reserve
from .overlaying import Given, overlaid
from .queues import read_queue

UNITS: Final = {unit.name: unit for unit in UNIT_SECONDS}

UNIT_NAMES: Final = ", ".join(unit.name.lower() for unit in UNIT_SECONDS)

Made = tuple[tuple[Limit, ...], tuple[int, ...]]
"""The limits of a descriptor, and the line of each."""

_RateKey = tuple[str, int, int, int | None, bool]


LIMITS_MAX: Final = 16
"""Limits on one descriptor: two per unit. Each adds a charge to every request."""


class LimitDefaults(NamedTuple):
    """Defaults for the limits of a descriptor, from the descriptor, its domain and an overlay."""

    algorithm: str
    charge: Charging
    shadow_mode: bool
    quota_mode: bool
    on_store_failure: OnStoreFailure
    overlay: Given | None = None

    def with_these(self, said: Mapping[str, Any]) -> "LimitDefaults":
        """Return the defaults with others of the domain."""
        algorithm, charge = said.get("default_algorithm", self.algorithm), said.get("default_charge", self.charge)
        return self._replace(algorithm=algorithm, charge=charge)


class LimitMaker:
    """Makes limits; equal rates and equal groups of limits are made once and shared."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._rates: dict[_RateKey, Rate] = {}
        self._groups: dict[tuple[Limit, ...], tuple[Limit, ...]] = {}

    def single(self, node: YamlMap, defaults: LimitDefaults) -> Made:
        """Make the limit of a ``rate_limit``; empty if it is invalid, which is noted."""
        before = len(self._notes.errors)
        fields = read_fields(self._notes, node, "rate_limit")
        limit = self._limit(node, fields, defaults, "", sound=len(self._notes.errors) == before)
        return ((), ()) if limit is None else (self._shared((limit,)), (node.line,))

    def several(self, node: YamlList, defaults: LimitDefaults) -> Made:
        """Make the limits of a ``rate_limits``; invalid ones are noted and omitted."""
        if not node.items:
            self._notes.error(node.line, "'rate_limits' is empty: add a limit, or remove the key")
        if len(node.items) > LIMITS_MAX:
            self._notes.error(
                node.line,
                f"{len(node.items)} limits on one descriptor, at most {LIMITS_MAX} are allowed: "
                "each is charged on every request; keep those that can deny one",
            )
            return (), ()
        limits: dict[str, Limit] = {}
        lines: dict[str, int] = {}
        for index, item in enumerate(maps_of(self._notes, node)):
            before = len(self._notes.errors)
            fields = read_fields(self._notes, item, "rate_limits")
            sound = len(self._notes.errors) == before
            name = fields.get("name") or str(index)
            if name in limits:
                self._notes.error(
                    item.line, f"duplicate limit name '{name}' in one descriptor: give each limit its own 'name'"
                )
            if fields.get("unlimited"):
                self._notes.error(item.line, "'unlimited' is not allowed in 'rate_limits': use 'rate_limit'")
                continue
            limit = self._limit(item, fields, defaults, name, sound=sound)
            if limit is not None:
                limits[name], lines[name] = limit, item.line
        return self._shared(tuple(limits.values())), tuple(lines.values())

    def _shared(self, limits: tuple[Limit, ...]) -> tuple[Limit, ...]:
        return self._groups.setdefault(limits, limits)

    def _limit(self, node: YamlMap, fields: Fields, defaults: LimitDefaults, item: str, *, sound: bool) -> Limit | None:
        """Make a limit; None if it is invalid, which is noted. Without ``sound`` fields no error is about their sum."""
        sent = self._sent(node, fields, defaults, item, sound=sound)
        if sent is None or defaults.overlay is None:
            return sent
        return overlaid(defaults.overlay, fields, sent, item, partial(self._with, node, fields, defaults, item))

    def _with(
        self, node: YamlMap, fields: Fields, defaults: LimitDefaults, item: str, said: Mapping[str, Any]
    ) -> Limit | str:
        """Make a valid limit with what an overlay says of it, or return why there can be none."""
        before = len(self._notes.errors)
        made = self._sent(node, {**said, **fields}, defaults.with_these(said), item, sound=True)
        errors = self._notes.errors[before:]
        del self._notes.errors[before:]
        return errors[0].message if made is None else made

    def _sent(self, node: YamlMap, fields: Fields, defaults: LimitDefaults, item: str, *, sound: bool) -> Limit | None:
        before = len(self._notes.errors)
        plain = Limit(
            None,
            name=fields.get("name", ""),
            replaces=self._replaces(fields),
            shadow_mode=fields.get("shadow_mode", defaults.shadow_mode),
            quota_mode=fields.get("quota_mode", defaults.quota_mode),
            on_store_failure=fields.get("on_store_failure", defaults.on_store_failure),
            item=item,
        )
        if "concurrent" in fields:
            return self._places(node, fields, plain, before) if sound else None
        if "ttl" in fields:
            self._notes.error(node.line, "'ttl' belongs to 'concurrent', or into 'reserve'")
        unlimited = fields.get("unlimited", False)
        unit = self._unit(node, fields, unlimited=unlimited, sound=sound)
        rate = self._rate(node, fields, defaults.algorithm, unit) if sound and not unlimited else None
        reserve = read_reserve(self._notes, fields, rate, read_fields)
        queue = read_queue(self._notes, fields, rate, read_fields)
        if len(self._notes.errors) > before or not sound:
            return None
        multiplier = fields.get("unit_multiplier", 1)
        charge = Charging.UNSAID if unlimited else fields.get("charge", defaults.charge)
        upstream = not item and multiplier == 1 and (rate is None or _is_upstream(rate))
        return plain._replace(
            rate=rate,
            requests_per_unit=0 if unlimited else fields.get("requests_per_unit", 0),
            unit=unit,
            unit_multiplier=multiplier,
            upstream=upstream and reserve is None,
            charge=charge if reserve is None else Charging.AFTER,
            reserve=reserve,
            queue=queue,
        )

    def _places(self, node: YamlMap, fields: Fields, plain: Limit, before: int) -> Limit | None:
        """Make a limit on requests in progress."""
        found = read_places(self._notes, node, fields)
        rate, reserve = found or (None, None)
        queue = read_queue(self._notes, fields, rate, read_fields)
        if rate is None or len(self._notes.errors) > before:
            return None
        return plain._replace(
            rate=rate, requests_per_unit=rate.quota, upstream=False, charge=Charging.AFTER, reserve=reserve, queue=queue
        )

    def _unit(self, node: YamlMap, fields: Fields, *, unlimited: bool, sound: bool) -> Unit:
        text = fields.get("unit", "")
        unit = UNITS.get(text.upper(), Unit.UNKNOWN)
        if unlimited and unit is not Unit.UNKNOWN:
            self._notes.error(node.line, "should not specify rate limit unit when unlimited")
        if not unlimited and unit is Unit.UNKNOWN and (text or sound):
            self._notes.error(node.line, f"invalid rate limit unit '{text}': write one of {UNIT_NAMES}")
        own = [key for key in (*COUNTED, "queue") if key in fields and key in OWN_KEYS]
        if unlimited and own:
            self._notes.error(node.line, f"an unlimited limit has no counter: remove {', '.join(own)}")
        return unit

    def _replaces(self, fields: Fields) -> frozenset[str]:
        names = set()
        for item in maps_of(self._notes, fields.get("replaces", YamlList([], 0))):
            before = len(self._notes.errors)
            name = read_fields(self._notes, item, "replaces").get("name", "")
            if not name and len(self._notes.errors) == before:
                self._notes.error(item.line, "should not have an empty replaces entry")
            elif name and name == fields.get("name"):
                self._notes.error(item.line, "replaces should not contain name of same descriptor")
            names.add(name)
        return frozenset(names)

    def _rate(self, node: YamlMap, fields: Fields, default_algorithm: str, unit: Unit) -> Rate | None:
        algorithm = fields.get("algorithm", default_algorithm)
        multiplier = fields.get("unit_multiplier", 1)
        if not multiplier:
            self._notes.error(node.line, "'unit_multiplier' must be at least 1: the window is that many units")
        elif unit is not Unit.UNKNOWN:
            window = UNIT_SECONDS[unit] * multiplier * SECOND
            quota = fields.get("requests_per_unit", 0)
            return self._made(
                node.line, (algorithm, quota, window, fields.get("burst"), fields.get("count_rejected", True))
            )
        return None

    def _made(self, line: int, key: _RateKey) -> Rate | None:
        rate = self._rates.get(key)
        if rate is None:
            try:
                rate = self._rates[key] = make_rate(*key)
            except RateError as error:
                self._notes.error(line, str(error))
                return None
        return rate


def _is_upstream(rate: Rate) -> bool:
    return rate.algorithm == UPSTREAM_ALGORITHM and rate.count_rejected
