"""A limit as a row of a document."""

from ratelimitd.limiter import Modes
from ratelimitd.policy import Limit, amount_in_words, is_override, names_of, rule_name

from .denials import Place
from .history import NAMES, Counts
from .keys import RECENT, UNKNOWN
from .tracked import Tracked
from .view import Document, Found, View, limit_id
from .windows import STEP

SECOND = 1_000_000


def name_of(place: Place) -> str:
    """Return the name of a limit, as reasons have it."""
    domain, path, item = place
    return rule_name(domain, path) + (f".limit_{item}" if item else "")


def mode_of(limit: Limit, modes: Modes) -> str:
    """Return whether a limit is enforced."""
    if limit.shadow_mode or modes.shadow:
        return "shadow"
    return "quota" if limit.quota_mode or modes.quota else "enforced"


def row(view: View, found: Found, *, spark: bool = True) -> Document:
    """Return the row of a limit."""
    limit, rate = found.limit, found.limit.rate
    tracked = view.live.limits.get(found.place)
    names = [name.decode(errors="replace") for name in names_of(found.path)]
    return {
        "id": limit_id(*found.place),
        "name": name_of(found.place),
        "domain": found.domain.decode(errors="replace"),
        "path": names,
        "limit": found.item,
        "summary": "unlimited" if rate is None else amount_in_words(limit),
        "requests_per_unit": limit.requests_per_unit,
        "unit": limit.unit.name.lower(),
        "unit_multiplier": limit.unit_multiplier,
        "window_seconds": 0.0 if rate is None else rate.window / SECOND,
        "burst": 0 if rate is None else rate.burst,
        "algorithm": "" if rate is None else rate.algorithm,
        "mode": mode_of(limit, view.live.modes),
        "on_store_failure": limit.on_store_failure.name.lower(),
        "unlimited": rate is None,
        "override": is_override(found.path),
        "gone": found.node is None and not is_override(found.path),
        "where": None if found.node is None else view.where(found.node, found.number),
        **traffic(view, tracked),
        "spark": sparkline(view, tracked) if spark else None,
    }


def traffic(view: View, tracked: Tracked | None) -> Document:
    """Return the numbers of a limit that change."""
    if tracked is None:
        return {
            "rates": dict.fromkeys(NAMES, 0.0),
            "totals": dict.fromkeys(NAMES, 0),
            "active_keys": None,
            "use": None,
        }
    tracked.sync()
    return {
        "rates": rates(view, tracked),
        "totals": tracked.totals._asdict(),
        "active_keys": tracked.keys.active(view.live.step, view.now),
        "use": use(view, tracked),
    }


def rates(view: View, tracked: Tracked) -> dict[str, float]:
    """Return hits per second over the last complete step, or over what has passed of the first one."""
    if tracked.first == view.live.step:
        return per_second(tracked.open, view.now - tracked.since)
    return per_second(tracked.last, STEP)


def per_second(counts: Counts, time: int) -> dict[str, float]:
    """Return counts by the second; of less than a second as if it had been one."""
    seconds = max(SECOND, time) / SECOND
    return {name: round(count / seconds, 3) for name, count in zip(NAMES, counts, strict=True)}


def use(view: View, tracked: Tracked) -> float | None:
    """Return how full the fullest counter of the last minute is: as when its key was seen; 0 if it was reset since."""
    rate = tracked.limit.rate
    if rate is None or not rate.burst:
        return None
    fullest = None
    for key in tracked.keys.listed.values():
        if key.remaining != UNKNOWN and view.now - key.seen <= RECENT:
            part = 1 - key.remaining / rate.burst if key.reset_at > view.now else 0.0
            fullest = part if fullest is None or part > fullest else fullest
    return None if fullest is None else round(min(1.0, max(0.0, fullest)), 4)


def sparkline(view: View, tracked: Tracked | None) -> Document | None:
    """Return the last hour by minutes; None without traffic in it."""
    if tracked is None:
        return None
    closed = view.live.step - 1
    allowed, denied = NAMES.index("allowed"), NAMES.index("denied")
    history = tracked.history
    return {"step": 60, "allowed": history.minutes(allowed, closed), "denied": history.minutes(denied, closed)}
