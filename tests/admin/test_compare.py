"""How the admin token is compared: no test can time it, so this one looks at what compares."""

import hmac

from ratelimitd.admin.guard import TokenGuard
from ratelimitd.admin.http import PageRequest

TOKEN = b"0123456789abcdef"


def test_a_token_is_compared_in_constant_time(monkeypatch):
    """The whole of what a caller sent goes through hmac.compare_digest, and what that says is what counts."""
    compared = []

    def compare(one, other):
        compared.append({one, other})
        return True

    monkeypatch.setattr(hmac, "compare_digest", compare)
    request = PageRequest("GET", "/admin/key", {}, {"Authorization": "Bearer guess"}, b"", "127.0.0.1")
    assert TokenGuard(lambda: TOKEN, lambda: 0).refusal(request) is None
    assert compared == [{b"guess", TOKEN}]
