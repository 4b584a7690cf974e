"""A selection of decisions: those of a domain, of a limit, or with an entry."""

from typing import NamedTuple

from .reason import limit_name
from .seam import Ask


class Selection(NamedTuple):
    """Selects decisions by their requests; a field that is empty selects all.

    Attributes:
        domain: domain of the request.
        limit: a limit that applies to the request: its name, or its position as in a reason.
        key, value: an entry of a descriptor; a value of None: any value. In a domain with ``identity``, an API key
            is its tier.
    """

    domain: bytes = b""
    limit: str = ""
    key: bytes = b""
    value: bytes | None = None


def selects(selection: Selection, ask: Ask) -> bool:
    """Whether a selection contains the decision of an ask."""
    request = ask.plan.request
    if selection.domain and selection.domain != request.domain:
        return False
    if selection.key and not any(
        _is_entry(selection, *entry) for each in request.descriptors for entry in each.entries
    ):
        return False
    return not selection.limit or any(
        selection.limit in {charge.limit.name, limit_name(ask, index)} for index, charge in enumerate(ask.plan.charges)
    )


def _is_entry(selection: Selection, key: bytes, value: bytes) -> bool:
    return key == selection.key and selection.value in {None, value}
