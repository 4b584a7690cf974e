"""HTTP pages for operators: a table of paths and handlers, and the admin API."""

from .control import Control, contents_page, key_page, policy_page, reset_page
from .decisions import DecisionSwitch, Switched, decisions_page
from .direct import PEEK, ask_store
from .events import Hub
from .explain import explain_page, explained
from .guard import Token, TokenError, TokenFile, TokenGuard, guarded
from .http import Page, PageRequest, PageTable
from .live import Document, Feed, LiveAccess, LiveView, live_off
from .live_query import Watched
from .pages import debug_pages, gateway_pages, metrics_pages, service_pages
from .peers import HASHED, KEYS_HEADER, AllReplicas, NotTogetherError, live_pages, page_of, peer_pages
from .reused import REUSE_BYTES, Reused
from .server import BODY_BYTES, HTTP_MOST, STREAMS, Clients, PageListener, Pages, listen, port_bytes
from .stats import statsd_text
from .topics import Topics

__all__ = [
    "BODY_BYTES",
    "HASHED",
    "HTTP_MOST",
    "KEYS_HEADER",
    "PEEK",
    "REUSE_BYTES",
    "STREAMS",
    "AllReplicas",
    "Clients",
    "Control",
    "DecisionSwitch",
    "Document",
    "Feed",
    "Hub",
    "LiveAccess",
    "LiveView",
    "NotTogetherError",
    "Page",
    "PageListener",
    "PageRequest",
    "PageTable",
    "Pages",
    "Reused",
    "Switched",
    "Token",
    "TokenError",
    "TokenFile",
    "TokenGuard",
    "Topics",
    "Watched",
    "ask_store",
    "contents_page",
    "debug_pages",
    "decisions_page",
    "explain_page",
    "explained",
    "gateway_pages",
    "guarded",
    "key_page",
    "listen",
    "live_off",
    "live_pages",
    "metrics_pages",
    "page_of",
    "peer_pages",
    "policy_page",
    "port_bytes",
    "reset_page",
    "service_pages",
    "statsd_text",
]
