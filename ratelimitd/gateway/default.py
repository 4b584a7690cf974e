"""The gateway file of those who have none: LISTEN_ADDR and DOWNSTREAM_URL are enough for a proxy with limits."""

import json
from typing import Final

LISTEN: Final = ":8080"
DOWNSTREAM: Final = "http://localhost:8081"
"""Where the sample of the README listens."""


def default_file(listen: str = LISTEN, downstream_url: str = DOWNSTREAM) -> str:
    """Return the file with these two in it. Neither is checked here: reading the file does that."""
    return _FILE.replace("LISTEN_ADDR", json.dumps(listen), 1).replace("DOWNSTREAM_URL", json.dumps(downstream_url), 1)


_FILE: Final = """\
# The gateway that runs when there is no file. To change it:
#   ratelimitd proxy --print-config > gateway.yaml
#   ratelimitd proxy --config gateway.yaml

listen: LISTEN_ADDR

upstreams:
  app:
    url: DOWNSTREAM_URL

routes:
  # The expensive endpoint: as everything else below, and no more than its own limit for each caller.
  - match:
      path: /api/expensive
    upstream: app
    rate_limits:
      - actions: &caller
          - request_headers: {header_name: x-api-key, descriptor_key: api_key, skip_if_absent: true}
          - remote_address: {}
      - actions:
          - generic_key: {descriptor_key: endpoint, descriptor_value: expensive}
          - request_headers: {header_name: x-api-key, descriptor_key: api_key, skip_if_absent: true}
          - remote_address: {}

  # Everything else.
  - match:
      prefix: /
    upstream: app
    rate_limits:
      - actions: *caller

# Proxies whose X-Forwarded-For is believed. Without any, the caller's address is the one that connects.
# trusted_proxies: [10.0.0.0/8]

policies:
  domain: gateway

  # A request denied by one limit costs nothing at the others.
  all_or_nothing: true

  # A key that is listed stands for its caller and has the limits of its tier. Any other key, or none: the address
  # counts. A key may be written as sha256:<hex> instead, or all of them in a file of their own (tiers_file).
  identity:
    key: api_key
    otherwise: remote_address
    tiers:
      premium: ["api-key:premium"]
      standard: ["api-key:standard"]

  descriptors:
    # Two hundred at once, then a hundred a second.
    - key: api_key
      value: premium
      rate_limit: {unit: second, requests_per_unit: 100, burst: 200, algorithm: token_bucket}

    - key: api_key
      value: standard
      rate_limit: {unit: second, requests_per_unit: 10, burst: 20, algorithm: token_bucket}

    # Whoever brings no known key, by address.
    - key: remote_address
      rate_limit: {unit: second, requests_per_unit: 5, burst: 10, algorithm: token_bucket}

    # Never more than so many in any minute.
    - key: endpoint
      value: expensive
      descriptors:
        - key: api_key
          value: premium
          rate_limit: {unit: minute, requests_per_unit: 60, algorithm: sliding_window}
        - key: api_key
          value: standard
          rate_limit: {unit: minute, requests_per_unit: 10, algorithm: sliding_window}
        - key: remote_address
          rate_limit: {unit: minute, requests_per_unit: 5, algorithm: sliding_window}
"""
