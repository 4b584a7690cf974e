"""The attacks by name, and the service that each is made on."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from . import liar, on_grpc, on_http
from .attacker import Attacker
from .frames import DOMAIN

PLENTY: Final = "{unit: hour, requests_per_unit: 1000000000}"
POLICY: Final = f"""\
domain: {DOMAIN}
descriptors:
  - {{key: user, rate_limit: {PLENTY}, on_store_failure: local}}
  - {{key: tenant, rate_limit: {PLENTY}}}
"""
"""Others ask for a user, an attacker for a tenant. With a Redis that lies, others are answered by local counts."""


BUFFERED: Final = {"GRPC_MAX_BUFFERED_BYTES": "8MiB"}
COUNTERS: Final = {"MEMORY_MAX_BYTES": "1MiB"}
"""Bounds that an attack reaches in a second; the default ones are larger than what a test should fill."""


class Attack(NamedTuple):
    """An attack.

    Attributes:
        run: what the attacker does; its docstring says what it sends.
        port: where it is made.
        env: settings of the service, besides the defaults.
        files: bound of the service's open files; 0: as many as it may have.
        victim: what others do meanwhile: ``calls``, ``connections`` or ``watches``.
    """

    run: Callable[[Attacker], None]
    port: str = "8081"
    env: Mapping[str, str] = {}
    files: int = 0
    victim: str = "calls"

    @property
    def about(self) -> str:
        """What it sends, in a line."""
        return " ".join((self.run.__doc__ or "").split()).rstrip(".")


ATTACKS: Final[Mapping[str, Attack]] = {
    attack.run.__name__: attack
    for attack in (
        Attack(on_grpc.burst),
        Attack(on_grpc.wide),
        Attack(on_grpc.compressed),
        Attack(on_grpc.bombs),
        Attack(on_grpc.reflection),
        Attack(on_grpc.watch, victim="watches"),
        Attack(on_grpc.hpack_reconnects),
        Attack(on_grpc.hpack_within),
        Attack(on_grpc.settings),
        Attack(on_grpc.half_open, env=BUFFERED),
        Attack(on_grpc.unfinished, env=BUFFERED),
        Attack(on_grpc.rapid_reset),
        Attack(on_grpc.pings),
        Attack(on_grpc.empty_data),
        Attack(on_grpc.window_updates),
        Attack(on_grpc.unread),
        Attack(on_grpc.new_keys, env=COUNTERS),
        Attack(on_grpc.series, env=COUNTERS),
        Attack(on_http.scrapes, "8080", env=COUNTERS),
        Attack(on_http.json, "8080"),
        Attack(on_http.silent_http, "8080", files=1_024, victim="connections"),
        Attack(on_http.silent_debug, "6070", files=1_024, victim="connections"),
        Attack(on_http.silent_grpc, files=1_024, victim="connections"),
        Attack(on_http.reload, "policy"),
        Attack(liar.redis_bulk, "Redis"),
        Attack(liar.redis_array, "Redis"),
        Attack(liar.redis_hosts, "Redis", env={"REDIS_TYPE": "cluster"}),
    )
}
