"""The table of memory in docs/operations.md: what each part may take, in the containers of the manifests.

``python -m tests.k8s.sums`` writes it.
"""

from typing import Final

from ratelimitd.app.memory import MIB, grpc_connections, shares, total
from ratelimitd.settings import load
from testkit.page import replaced
from tests.k8s.manifests import DEPLOYMENTS, ROOT, environment, ratelimitd

PAGE: Final = ROOT / "docs" / "operations.md"
PART: Final = "memory"

POLICY: Final = MIB
"""Bytes of a policy: the largest ConfigMap."""


def memory_of(deployment):
    """The limit of a manifest, in bytes."""
    return int(ratelimitd(deployment)["resources"]["limits"]["memory"].removesuffix("Mi")) * MIB


COLUMNS: Final = {
    **{
        f"`{name}`, {memory_of(each) // MIB}Mi": (load(environment(ratelimitd(each)), {}), memory_of(each))
        for name, each in DEPLOYMENTS.items()
    },
    "no setting, 1Gi": (load({}, {}), 1024 * MIB),
}
"""Settings and memory of each column."""


def table():
    """Return the Markdown table."""
    columns = [shares(settings, memory, POLICY) for settings, memory in COLUMNS.values()]
    names = dict.fromkeys(part.name for parts in columns for part in parts)
    settings = {part.name: part.setting for parts in columns for part in parts}
    lines = [f"| MiB | {' | '.join(COLUMNS)} | lowered by |", f"|---|{'---:|' * len(columns)}---|"]
    for name in names:
        sizes = [_shown([part.bytes for part in parts if part.name == name]) for parts in columns]
        lines.append(f"| {name} | {' | '.join(sizes)} | {settings[name] and f'`{settings[name]}`'} |")
    sums = [f"**{total(parts) / MIB:.0f}**" for parts in columns]
    lines.append(f"| **all of them** | {' | '.join(sums)} | |")
    counts = [f"{grpc_connections(*each):,}" for each in COLUMNS.values()]
    lines.append(f"| gRPC connections, number | {' | '.join(counts)} | |")
    return "\n".join(lines) + "\n"


def _shown(sizes):
    return f"{sum(sizes) / MIB:.0f}" if sizes else ""


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(), PART, table()))
