"""A walk over all descriptors of a policy, and what metrics call them."""

from collections.abc import Iterator, Sequence

from .model import DescriptorNode, Domain, Policy
from .paths import metric_part


def walk(policy: Policy) -> Iterator[tuple[Domain, Sequence[DescriptorNode]]]:
    """Yield each descriptor as the last one of its path, with its domain, and first the domain with an empty path.

    So a caller that yields to the event loop now and then does so over domains without descriptors too. The path is
    valid until the next step.
    """
    for domain in policy.domains.values():
        levels: list[Iterator[DescriptorNode]] = [iter(domain.root.children.values())]
        path: list[DescriptorNode] = []
        yield domain, path
        while levels:
            node = next(levels[-1], None)
            del path[len(levels) - 1 :]
            if node is None:
                levels.pop()
                continue
            path.append(node)
            yield domain, path
            levels.append(iter(node.children.values()))


def stat_key_of(domain: Domain, path: Sequence[DescriptorNode]) -> tuple[str, ...]:
    """Return the name in metrics of the limits at the end of a path, if no value of a request is part of it."""
    return (metric_part(domain.name), *[metric_part(node.final_key) for node in path])
