"""A limit's file, as its errors name it, and its line, through the child and its slices."""

import pytest

from ratelimitd.policy import PolicyErrors, where_of
from ratelimitd.sources import loader
from ratelimitd.sources.files import GatewayFile, Paths, RuntimeFolder
from ratelimitd.sources.pushed import Pushed
from testkit.control_plane import config, response

pytestmark = pytest.mark.process

POLICY = "domain: {}\ndescriptors:\n- key: k\n  rate_limit:\n    unit: {}\n"


async def places(source, **options):
    """The places of all limits of a source, as text."""
    policy = (await loader.load(source, **options)).policy
    return [str(where_of(policy, node, index)) for node in policy.nodes for index in range(len(node.limits))]


async def places_of_errors(source, **options):
    """The places of its errors, in the same form."""
    with pytest.raises(PolicyErrors) as caught:
        await loader.load(source, **options)
    return [f"{error.file}:{error.line}" if error.line else f"resource {error.file}" for error in caught.value.errors]


def config_map(root, number, **files):
    """Write a version of a mounted ConfigMap, and point its links to it, as the kubelet does."""
    data = root / f"..{number}"
    data.mkdir(parents=True)
    for name, text in files.items():
        (data / f"{name}.yaml").write_text(text)
        if not (root / f"{name}.yaml").is_symlink():
            (root / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")
    (root / "..new").symlink_to(data.name)
    (root / "..new").rename(root / "..data")


@pytest.mark.parametrize("merged", [False, True])
async def test_limits_of_a_config_map(tmp_path, merged):
    """By the runtime key, or by the path of the link; a flip of the links is the same place, at its new line."""
    folder, named = RuntimeFolder(str(tmp_path), ignore_dotfiles=True), Paths((str(tmp_path / "config"),))
    second = "descriptors: [{{key: m, rate_limit: {{unit: {1}}}}}]\ndomain: {0}\n"
    for number, above in enumerate(("", "# a comment\n\n")):
        for unit, found in (("UNIT", places_of_errors), ("day", places)):
            one = (above + POLICY).format("d", unit)
            two = second.format("d" if merged else "e", unit)
            config_map(tmp_path / "config", f"{number}{unit}", one=one, two=two)
            lines = (4 + 2 * number, 1)
            names = [f"{name}.yaml:{line}" for name, line in zip(("one", "two"), lines, strict=True)]
            assert await found(folder, merge_domains=merged) == [f"config.{name}" for name in names]
            assert await found(named, merge_domains=merged) == [f"{tmp_path}/config/{name}" for name in names]


async def test_limits_inside_a_gateway_file(tmp_path):
    """By a line of the gateway file if they are inline, one policy or several; else by the file that it names."""
    path, gateway = tmp_path / "gateway.yaml", GatewayFile(str(tmp_path / "gateway.yaml"))
    for unit, found in (("UNIT", places_of_errors), ("day", places)):
        inline = POLICY.format("d", unit).replace("\n", "\n    ")
        path.write_text(f"listen: :8080\npolicies:\n  - {inline}\n  - {inline.replace('domain: d', 'domain: e')}\n")
        assert await found(gateway) == [f"{path}:6", f"{path}:12"]
        (tmp_path / "policy.yaml").write_text(POLICY.format("d", unit))
        path.write_text("policies: policy.yaml\n")
        assert await found(gateway) == [f"{tmp_path}/policy.yaml:4"]


async def test_limits_that_a_control_plane_sends():
    """By the resource, which has no lines."""
    limited = {"key": "k", "rate_limit": {"unit": "day", "requests_per_unit": 5}}
    resources = [config("one", limited), config("two", limited, domain="e")]
    body = response("1", resources).SerializeToString()
    assert sorted(await places(Pushed("plane:18000", "1", body))) == ["resource one", "resource two"]
