"""What other replicas may read of this one on a port of its own: documents of the live view, with the token."""

from typing import Final

from .guard import TokenGuard
from .http import PageRequest, PageResponse

PAGES: Final = ("overview", "history", "limits", "limit", "denials")
"""Those below /live/ that are merged; no page changes anything."""

KEYS_HEADER: Final = "Ratelimitd-Keys"
HASHED: Final = "hashed"
"""A header by which a replica asks for hashed keys, for a caller of its own without the token."""


class PeerAccess:
    """Tells what another replica may see: nothing without the token, wherever it is.

    ``guard``: of the admin token, for callers on other hosts.
    """

    def __init__(self, guard: TokenGuard) -> None:
        self._guard = guard

    def plain(self, request: PageRequest) -> bool | PageResponse:
        """Return whether keys are shown as they are, or the error response to a request without the token."""
        return self._guard.refusal(request) or request.headers.get(KEYS_HEADER, "").lower() != HASHED
