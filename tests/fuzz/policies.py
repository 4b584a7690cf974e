"""Policy files, drawn from their schema."""

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.documents import counts, files, flags, lists, maps, mostly, names, odd, one_of

units = one_of("second", "minute", "hour", "DAY", "Week", "month", "year")
algorithms = one_of("fixed_window", "sliding_window_counter", "token_bucket", "gcra", "leaky_bucket")
failures = one_of("error", "allow", "deny", "local")
texts = names | one_of("long name", "'a, b'", "'q\"q'", r'"\r\nX: y"', "x" * 300)
quotas = one_of("0", "1", "2", "5", "1000", "4294967295", "10000", "0x10")

limit_fields: dict[str, st.SearchStrategy[Any]] = {
    "name": texts,
    "replaces": lists(maps({"name": texts}, {}), 2),
    "algorithm": algorithms,
    "unit_multiplier": one_of("1", "2", "6"),
}
daring = {"burst": counts, "count_rejected": flags, "algorithm": one_of("sliding_window", "gcra", "fixed")}
needed = {"unit": units, "requests_per_unit": quotas}
limits = mostly(maps(needed, limit_fields), maps(needed, {**limit_fields, **daring}), 8)
item_fields = {**limit_fields, "burst": counts, "shadow_mode": flags, "quota_mode": flags, "on_store_failure": failures}
unlimited = maps({"unlimited": one_of("true")}, {"name": texts})

leaves = odd | names | counts | flags
metadata = maps(
    {},
    {
        "team": leaves,
        "list": st.lists(leaves, max_size=3),
        "deep": maps({}, {"a": leaves, "b": maps({}, {"c": leaves})}),
        "big": one_of(*("[" * deep + "]" * deep for deep in (20, 40, 80)), "{a: " * 40 + "1" + "}" * 40, "x" * 70_000),
    },
)

descriptor_fields: dict[str, st.SearchStrategy[Any]] = {
    "value": names,
    "rate_limit": limits | limits | unlimited,
    "rate_limits": lists(maps(needed, item_fields), 3),
    "shadow_mode": flags,
    "quota_mode": flags,
    "detailed_metric": flags,
    "value_to_metric": flags,
    "share_threshold": flags,
    "metadata": metadata,
    "on_store_failure": failures,
}
leaf = maps({"key": names}, descriptor_fields)
common = {"metadata": metadata, "detailed_metric": flags, "value_to_metric": flags, "shadow_mode": flags}
limited = maps({"key": names, "value": names, "rate_limit": limits}, common)
limited |= maps({"key": names, "rate_limits": lists(maps(needed, item_fields), 3)}, {**common, "value": names})
branch = maps({"key": names, "descriptors": lists(limited, 2)}, common)
descriptors = lists(limited | limited | branch) | lists(limited | leaf | branch, 2)

tiers = maps({}, {"gold": lists(names, 2), "tin": lists(one_of("secret", "sha256:" + "ab" * 32, "sha256:x"), 2)})
identity = maps(
    {"key": names},
    {"otherwise": names, "tiers": tiers, "tiers_file": one_of("tiers.yaml", "nowhere"), "ipv6_prefix": counts},
) | maps({"key": one_of("k"), "tiers": maps({}, {"gold": lists(names, 2)})}, {"ipv6_prefix": one_of("1", "64", "128")})
whole = {"domain": names, "descriptors": descriptors}
agreed = {"default_algorithm": algorithms, "all_or_nothing": flags}
policies = mostly(maps(whole, agreed), maps(whole, {**agreed, "identity": identity}), 4)

TEMPLATES = [
    "domain: d\ndescriptors: %s\n",
    "domain: d\ndescriptors:\n  - key: k\n    metadata: {m: %s}\n    rate_limit: {unit: day, requests_per_unit: 1}\n",
    "domain: d\ndescriptors:\n  - {key: k, rate_limits: %s}\n",
    "domain: d\nidentity: {key: k, tiers: {t: %s}}\n",
]
"""Where a bomb may be put."""

texts_of_policies = files(policies)
policy_files = mostly(texts_of_policies.map(lambda text: [text]), st.tuples(texts_of_policies, texts_of_policies), 4)
"""One file, or two."""
