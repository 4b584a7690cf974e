"""What policy files come to: their errors, or their limits."""

import pytest

from ratelimitd.policy import PolicyErrors
from ratelimitd.policy_file import parse

HEAD = "domain: test-domain\ndescriptors:\n"


def errors(*texts, merge_domains=False):
    files = [(f"config.{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    with pytest.raises(PolicyErrors) as caught:
        parse(files, merge_domains=merge_domains)
    return str(caught.value).splitlines()


def domain(*texts, merge_domains=False, default_algorithm="fixed_window"):
    files = [(f"{number}.yaml", text.encode()) for number, text in enumerate(texts)]
    policy = parse(files, merge_domains=merge_domains, default_algorithm=default_algorithm)
    return next(iter(policy.domains.values()))


def limits(descriptor, head=HEAD, *, default_algorithm="fixed_window"):
    tree = domain(head + descriptor, default_algorithm=default_algorithm)
    return next(iter(tree.root.children.values())).limits
