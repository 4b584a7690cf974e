"""The built-in gateway file: with it, LISTEN_ADDR and UPSTREAM_URL are enough to run a proxy with limits."""

import json
from typing import Final

LISTEN: Final = ":8080"
UPSTREAM: Final = "http://localhost:8081"
"""Address of the sample upstream in the README."""


def default_file(listen: str = LISTEN, upstream_url: str = UPSTREAM) -> str:
    """Return the file with these two values. They are not validated here, but when the file is read."""
    return _FILE.replace("LISTEN_ADDR", json.dumps(listen), 1).replace("UPSTREAM_URL", json.dumps(upstream_url), 1)


_FILE: Final = """\
# The built-in gateway file, used without --config. To change it:
#   ratelimitd proxy --print-config > gateway.yaml
#   ratelimitd proxy --config gateway.yaml
#   ratelimitd schema gateway > gateway.schema.json      # for editors, which read the next line
# yaml-language-server: $schema=gateway.schema.json

listen: LISTEN_ADDR

upstreams:
  app:
    url: UPSTREAM_URL

routes:
  # The expensive endpoint: the same limits as below, and a separate limit per client. Express and other frameworks
  # serve /API/expensive/ too.
  - match:
      path: /api/expensive
      ignore_case: true
      ignore_trailing_slash: true
    upstream: app
    rate_limits:
      - actions: &caller
          - request_headers: {header_name: x-api-key, descriptor_key: api_key, skip_if_absent: true}
          - remote_address: {}
      - actions:
          - generic_key: {descriptor_key: endpoint, descriptor_value: expensive}
          - request_headers: {header_name: x-api-key, descriptor_key: api_key, skip_if_absent: true}
          - remote_address: {}

  # All other requests.
  - match:
      prefix: /
    upstream: app
    rate_limits:
      - actions: *caller

# Proxies whose X-Forwarded-For is trusted. If empty, the client address is the address of the connection.
# trusted_proxies: [10.0.0.0/8]

policies:
  domain: gateway

  # A request that one limit denies does not count against the others.
  all_or_nothing: true

  # A listed key identifies its client, which has the limits of its tier. Requests with another key or none are counted
  # by address. A key can also be written as sha256:<hex>, and all keys can be in a separate file (tiers_file).
  identity:
    key: api_key
    otherwise: remote_address
    tiers:
      premium: ["api-key:premium"]
      standard: ["api-key:standard"]

  descriptors:
    # A burst of 200, then 100 per second.
    - key: api_key
      value: premium
      rate_limit: {unit: second, requests_per_unit: 100, burst: 200, algorithm: token_bucket}

    - key: api_key
      value: standard
      rate_limit: {unit: second, requests_per_unit: 10, burst: 20, algorithm: token_bucket}

    # Clients without a listed key, by address.
    - key: remote_address
      rate_limit: {unit: second, requests_per_unit: 5, burst: 10, algorithm: token_bucket}

    # Never more than this in any 60 seconds.
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
