"""The gateway file that ``--upstream``, ``--limit`` and ``--by`` stand for."""

import json
import shlex
from collections.abc import Iterator
from typing import Final, NamedTuple

ADDRESS: Final = "address"

ALGORITHMS: Final = {"second": "token_bucket", "minute": "token_bucket"}
"""Algorithm by unit; of longer ones ``sliding_window_counter``, as a bucket of a day admits twice that in one day."""


class CallerLimits(NamedTuple):
    """What each caller may send.

    Attributes:
        quotas: requests and their unit, each unit once.
        by: ``address``, or the name of the header whose values are the callers.
    """

    quotas: tuple[tuple[int, str], ...]
    by: str


def in_words(wanted: CallerLimits) -> str:
    """Return what the limits mean, as a clause."""
    allowed = " and ".join(f"{requests} per {unit}" for requests, unit in wanted.quotas)
    if wanted.by == ADDRESS:
        return f"{allowed} for each client address"
    return f"{allowed} for each value of {wanted.by}, and for each client address without one"


def file_of_flags(listen: str, upstream: str, wanted: CallerLimits) -> str:
    """Return the gateway file, with comments."""
    command = ["ratelimitd", "proxy", "--upstream", upstream]
    for requests, unit in wanted.quotas:
        command += ["--limit", f"{requests}/{unit}"]
    by_header = wanted.by != ADDRESS
    return "\n".join(
        [
            _HEAD.format(
                words=in_words(wanted),
                command=shlex.join([*command, "--by", wanted.by]),
                listen=json.dumps(listen),
                upstream=json.dumps(upstream),
            ),
            *([_BY_HEADER.format(header=wanted.by, name=json.dumps(wanted.by))] if by_header else []),
            _BY_ADDRESS.format(callers="Requests without it" if by_header else "Requests"),
            _POLICY,
            *([f"    - key: {json.dumps(wanted.by)}", *_limits(wanted)] if by_header else []),
            "    - key: masked_remote_address",
            *_limits(wanted),
            "",
        ]
    )


def _limits(wanted: CallerLimits) -> Iterator[str]:
    yield "      rate_limits:"
    for requests, unit in wanted.quotas:
        algorithm = ALGORITHMS.get(unit, "sliding_window_counter")
        limit = f"unit: {unit}, requests_per_unit: {requests}, algorithm: {algorithm}"
        yield f"        - {{name: per_{unit}, {limit}}}"


_HEAD: Final = """\
# {words}.
# To change it:
#   {command} --print-config > gateway.yaml
#   ratelimitd proxy --config gateway.yaml
#   ratelimitd schema gateway > gateway.schema.json      # for editors, which read the next line
# yaml-language-server: $schema=gateway.schema.json

listen: {listen}

upstreams:
  app:
    url: {upstream}

# Proxies whose X-Forwarded-For is trusted. If empty, the client address is the address of the connection.
# trusted_proxies: [10.0.0.0/8]

routes:"""

_BY_HEADER: Final = """\
  # Requests with the header are counted by its value, whatever it is: each value that a caller invents has limits of
  # its own. To accept known keys only, list them with identity (docs/policies.md, Who is calling). In Redis, values are
  # part of the names of counters, in plain text; the keys of an identity are not.
  - name: with {header}
    match:
      prefix: /
      headers: [{{name: {name}, present: true}}]
    rate_limits:
      - actions:
          - request_headers: {{header_name: {name}, descriptor_key: {name}}}
"""

_BY_ADDRESS: Final = """\
  # {callers} are counted by client address. The addresses of an IPv6 /64 are one client's.
  - name: by address
    match:
      prefix: /
    rate_limits:
      - actions:
          - masked_remote_address: {{v4_prefix_mask_len: 32, v6_prefix_mask_len: 64}}
"""

_POLICY: Final = """\
policies:
  domain: gateway

  # A request that one limit denies does not count against the others.
  all_or_nothing: true

  descriptors:
    # A token_bucket of 10 per second admits 10 at once, then 10 per second; its size is burst. The longer units are
    # counted over the last hour or day."""
