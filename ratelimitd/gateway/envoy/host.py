"""The filter that reads the requested host as limits count it, for files with a limit by its value.

Envoy can remove a port and a dot only from the Host that the upstream receives, and nothing else of it changes case.
So a script sets dynamic metadata, which an action reads in place of the header. An empty text would be no entry.
"""

from collections.abc import Iterator
from typing import Any, Final

from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any as Packed

from ratelimitd.gateway.model import Gateway, RequestHeaders
from ratelimitd.gateway.spellings import HOST_NAMES

HOST_KEY: Final[dict[str, Any]] = {"key": "ratelimitd", "path": [{"key": "host"}]}
"""Where the host is, in dynamic metadata."""

_SCRIPT: Final = """\
function envoy_on_request(handle)
  local host = (handle:headers():get(":authority") or ""):lower():gsub(":%d*$", ""):gsub("%.+$", "")
  if host == "" then host = "." end
  handle:streamInfo():dynamicMetadata():set("ratelimitd", "host", host)
end
"""


def host_filter(gateway: Gateway) -> Iterator[HttpFilter]:
    """Yield the filter if a limit counts by the value of the host."""
    if any(
        isinstance(action, RequestHeaders) and action.header in HOST_NAMES
        for route in gateway.routes
        for limit in route.rate_limits
        for action in limit.actions
    ):
        script = Lua(default_source_code=DataSource(inline_string=_SCRIPT))
        yield HttpFilter(name="envoy.filters.http.lua", typed_config=Packed.pack(script))
