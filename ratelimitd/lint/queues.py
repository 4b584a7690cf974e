"""Queues in which no request ever waits."""

from collections.abc import Iterator

from ratelimitd.policy import DescriptorNode

from .rules import Findings, finding, shown
from .tree import DomainTree

PROXY_ONLY = (
    "Envoy waits for a decision for milliseconds, so only 'ratelimitd proxy' lets requests wait",
    "use the policy with a gateway file, or remove queue",
)


def idle_queues(tree: DomainTree, *, proxied: bool) -> Findings:
    """Find ``queue`` where nothing is denied, and where no proxy of ours decides."""
    for node, _, place in tree.branches:
        for why, remedy in dict.fromkeys(_faults(node, proxied=proxied)):
            yield finding("queue-without-effect", place, descriptor=shown(node.final_key), why=why, remedy=remedy)


def _faults(node: DescriptorNode, *, proxied: bool) -> Iterator[tuple[str, str]]:
    for limit in node.limits:
        if limit.queue is None:
            continue
        if not proxied:
            yield PROXY_ONLY
        elif limit.shadow_mode or limit.quota_mode:
            mode = "shadow_mode" if limit.shadow_mode else "quota_mode"
            yield f"a limit with {mode} denies no request by itself", f"remove queue, or {mode}"
