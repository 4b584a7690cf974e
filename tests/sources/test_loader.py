"""Loading beside a running loop, and taking apart what was loaded."""

import gc
import os
import weakref
from hashlib import sha256
from pathlib import Path

import pytest

from ratelimitd.policy import DescriptorNode, Domain, Policy, PolicyErrors, Slice
from ratelimitd.policy.rows import SLICE_ROWS
from ratelimitd.policy_file import parse
from ratelimitd.sources import loader
from ratelimitd.sources.child import RULE_WARNINGS_MAX, perform
from ratelimitd.sources.files import BYTES_MOST, GatewayFile, Paths, RuntimeFolder
from ratelimitd.sources.frames import FRAME_MAX, LENGTH, EndFrame, ErrorFrame, WarningFrame
from tests.sources.jobs import job
from tests.turning import turning


def many(count):
    """A policy of nested, wildcard and plain descriptors with limits of all kinds."""
    lines = ["domain: d", "descriptors:"]
    for number in range(count // 4):
        lines += [
            f"- {{key: user, value: u{number}, rate_limit: {{unit: minute, requests_per_unit: {number % 50}}}}}",
            f"- {{key: path, value: '/{number}/*', rate_limits: [{{unit: day}}, {{unit: hour, name: n{number % 9}}}]}}",
            f"- key: tier{number}",
            "  descriptors:",
            f"  - {{key: x, metadata: {{n: {number}}}, rate_limit: {{unit: second, algorithm: gcra}}}}",
        ]
    return "\n".join(lines)


def told(policy):
    """Everything there is to a policy, as plain values."""
    domains = [(domain.name, domain.default_algorithm, domain.all_or_nothing) for domain in policy.domains.values()]
    return [tuple(domains), *map(node_told, policy.nodes)]


def node_told(node):
    flags = (node.detailed_metric, node.value_to_metric, node.share_threshold)
    wildcards = [pattern for pattern, _ in node.wildcards or ()]
    return (node.key, node.value, node.limits, node.metadata, flags, list(node.children), wildcards)


def folder(path, text):
    (path / "config").mkdir()
    (path / "config" / "p.yaml").write_text(text)
    return RuntimeFolder(str(path), watch_root=False)


@pytest.mark.alone
@pytest.mark.process
@pytest.mark.slow
async def test_a_load_through_a_child_equals_a_parse(tmp_path):
    """100,000 rules arrive as they would have been parsed here, in the same order."""
    text = many(100_000)
    loaded = await loader.load(folder(tmp_path, text), most=BYTES_MOST)
    assert loaded.summary == (1, 100_000, 100_000)
    assert told(loaded.policy) == told(parse([("p.yaml", text.encode())]))


@pytest.mark.alone
@pytest.mark.process
@pytest.mark.scenario("the event loop is blocked")
async def test_the_loop_runs_between_slices(tmp_path):
    """Each slice is one turn of the loop, so what holds it is bounded by the rows of a slice."""
    source = folder(tmp_path, many(4_000))
    pieces = [frame for frame in perform(job(source)) if isinstance(frame, Slice)]
    assert max(len(piece.rows) for piece in pieces) <= SLICE_ROWS
    with turning() as turns:
        loaded = await loader.load(source)
        assert turns.count > len(pieces)
        turns.count = 0
        steps = len(loaded.policy.nodes) // loader.DISMANTLE_STEPS
        await loader.dismantle(loaded.policy)
        assert turns.count >= steps


@pytest.mark.scenario("the event loop is blocked")
async def test_domains_are_freed_in_steps():
    """A control plane may send thousands, without a descriptor."""
    names = [b"%d" % number for number in range(5 * loader.DISMANTLE_STEPS)]
    domains = {name: Domain(name, DescriptorNode(), "fixed_window", all_or_nothing=False) for name in names}
    with turning() as turns:
        await loader.dismantle(Policy(domains, []))
        assert turns.count >= 10
    assert domains == {}


@pytest.mark.process
async def test_settings_reach_the_child(tmp_path):
    """The default algorithm and the merging of domains are those asked for."""
    source = folder(tmp_path, "domain: d\n")
    (tmp_path / "config" / "q.yaml").write_text("domain: d\ndescriptors: [{key: k, rate_limit: {unit: day}}]\n")
    loaded = await loader.load(source, default_algorithm="gcra", merge_domains=True)
    assert (loaded.policy.domains[b"d"].default_algorithm, loaded.files) == ("gcra", 2)


@pytest.mark.process
async def test_a_policys_version_is_the_hash_of_its_files(tmp_path):
    """Of all they hold, one behind the other, so that sha256sum gives it too; the same content is the same version."""
    source = folder(tmp_path, "domain: d\n")
    other = tmp_path / "config" / "q.yaml"
    other.write_text("domain: q\n")
    first = await loader.load(source)
    assert sha256(b"domain: d\ndomain: q\n").hexdigest() == first.version
    other.write_text("domain: q # as before\n")
    assert first.version != (await loader.load(source)).version
    other.write_text("domain: q\n")
    assert first.version == (await loader.load(source)).version


def test_files_that_a_policy_names_are_part_of_its_version(tmp_path):
    """A change of API keys is another version, as is one of a gateway file's policies."""

    def version(source):
        *_, end = perform(job(source, "gcra"))
        return end.version

    policy = Paths((str(tmp_path / "p.yaml"),))
    (tmp_path / "p.yaml").write_text("domain: d\nidentity: {key: k, tiers_file: keys}\ndescriptors: [{key: k}]\n")
    (tmp_path / "gateway.yaml").write_text("policies: p.yaml\n")
    versions = set()
    for keys in ("gold: [a]\n", "gold: [b]\n"):
        (tmp_path / "keys").write_text(keys)
        versions |= {version(policy), version(GatewayFile(str(tmp_path / "gateway.yaml")))}
    assert len(versions - {""}) == 4


@pytest.mark.process
@pytest.mark.parametrize("text", ["domain: [", "domain: d\ndescriptors:\n" + "- {}\n" * 500])
async def test_errors_come_through_whole(tmp_path, text):
    """Every error of a parse is an error of the load, with file and line."""
    source = folder(tmp_path, text)
    with pytest.raises(PolicyErrors) as here:
        parse([("p.yaml", text.encode())])
    with pytest.raises(PolicyErrors) as caught:
        await loader.load(source)
    assert caught.value.errors == here.value.errors


@pytest.mark.process
async def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    """It is named with its path."""
    with pytest.raises(PolicyErrors, match="nowhere: cannot be read"):
        await loader.load(Paths((str(tmp_path / "nowhere"),)))


@pytest.mark.process
async def test_no_domain_is_a_warning_with_the_real_path(tmp_path):
    """An empty folder is a policy, but hardly the one that was meant; links are followed to say where we looked."""
    (tmp_path / "real" / "config").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    loaded = await loader.load(RuntimeFolder(str(tmp_path / "link")))
    (warning,) = loaded.warnings
    assert (warning.file, warning.line) == (str(tmp_path / "real"), 0)
    assert loaded.policy.domains == {}


@pytest.mark.process
@pytest.mark.scenario("an invalid policy, at startup or on reload")
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import sys; sys.exit('out of luck')", "unexpectedly: out of luck"),
        ("import os; os.kill(os.getpid(), 9)", "unexpectedly: exit code -9"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xff\\xff\\xff')", "exceeds the maximum"),
        ("import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\x09halfway')", "unexpectedly: exit code 0"),
    ],
)
async def test_a_child_that_dies_is_an_error(tmp_path, child, program, words):
    """Whatever becomes of it, the caller gets PolicyErrors and keeps what it has."""
    child(program)
    with pytest.raises(PolicyErrors, match=words):
        await loader.load(folder(tmp_path, "domain: d\n"))


@pytest.mark.process
@pytest.mark.scenario("an invalid policy, at startup or on reload")
async def test_a_child_that_hangs_is_ended(tmp_path, child):
    """When the time is up it is killed, and the caller gets PolicyErrors."""
    mark = tmp_path / "pid"
    child(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(3600)")
    with pytest.raises(PolicyErrors, match="not loaded within 1 s"):
        await loader.load(folder(tmp_path, "domain: d\n"), within=1.0)
    assert not Path(f"/proc/{mark.read_text()}").exists()


@pytest.mark.process
async def test_the_child_yields_to_serving(tmp_path, child):
    """Its niceness is that of the service and more, so that serving has priority in a service that was niced too."""
    child("import os, sys; sys.stdin.buffer.read(4); sys.exit(f'niceness {os.nice(0)}')")
    with pytest.raises(PolicyErrors, match=f"niceness {min(19, os.nice(0) + loader.NICENESS)}"):
        await loader.load(folder(tmp_path, "domain: d\n"))


@pytest.mark.process
async def test_the_collector_is_on_again_after_every_load(tmp_path):
    """It rests during a load only, whatever the load comes to."""
    source = folder(tmp_path, "domain: d\n")
    await loader.load(source)
    assert gc.isenabled()
    with pytest.raises(PolicyErrors):
        await loader.load(Paths((str(tmp_path / "nowhere"),)))
    assert gc.isenabled()


@pytest.mark.process
@pytest.mark.scenario("the event loop is blocked")
async def test_a_loaded_policy_is_out_of_the_collectors_sight(tmp_path):
    """Or the next full collection would walk over all of it at once."""
    loaded = await loader.load(folder(tmp_path, many(1_000)))
    assert len(loaded.policy.nodes) > 1_000
    seen = {id(found) for found in gc.get_objects()}
    assert not any(id(node) in seen for node in loaded.policy.nodes)


@pytest.mark.process
async def test_garbage_in_a_cycle_does_not_outlive_a_load(tmp_path):
    """What is frozen is never collected, so what waits for the collector goes first."""
    garbage = Marked()
    gone = weakref.ref(garbage)
    garbage.children = {b"itself": garbage}
    del garbage
    await loader.load(folder(tmp_path, "domain: d\n"))
    assert gone() is None


class Marked(DescriptorNode):
    """A node that can be watched going."""

    __slots__ = ("__weakref__",)


async def test_dismantling_frees_every_node():
    """Nodes, patterns and all go without the collector's help."""
    root = Marked()
    nodes: list[DescriptorNode] = [root]
    for number in range(500):
        node = Marked(b"k", b"%d*" % number if number % 2 else b"%d" % number)
        (nodes[-1] if number % 5 == 0 else root).add_child(node)
        nodes.append(node)
    gone = [weakref.ref(node) for node in nodes[1:]]
    policy = Policy({b"d": Domain(b"d", root, "fixed_window", all_or_nothing=False)}, nodes)
    del node
    gc.disable()
    try:
        await loader.dismantle(policy)
        assert [reference() for reference in gone] == [None] * 500
    finally:
        gc.enable()


@pytest.mark.process
async def test_warnings_of_the_lint_reach_the_service(tmp_path):
    """With file, line, rule and remedy; of each rule the first, and how many more there are."""
    items = "".join(f"- {{key: k{number}, rate_limit: {{unit: day}}}}\n" for number in range(50)) + "- key: leaf\n"
    loaded = await loader.load(folder(tmp_path, "domain: d\ndescriptors:\n" + items))
    rules = [warning.rule for warning in loaded.warnings]
    assert rules == ["denies-all"] * RULE_WARNINGS_MAX + ["descriptor-without-limit", "denies-all"]
    first, *_, last = loaded.warnings
    assert (first.file, first.line) == ("p.yaml", 3)
    assert first.remedy
    assert (last.line, last.message) == (0, "and 30 more such warnings")


def test_frames_are_bounded(tmp_path):
    """Errors and warnings go in pieces too, and the bound of a frame fits its length field."""
    source = folder(tmp_path, "domain: d\ndescriptors:\n" + "- {}\n" * 1_000)
    pieces = list(perform(job(source)))
    assert [len(piece.errors) for piece in pieces if isinstance(piece, ErrorFrame)] == [SLICE_ROWS] * 5
    assert isinstance(pieces[-1], EndFrame)
    assert not any(isinstance(piece, WarningFrame | Slice) for piece in pieces)
    assert 1 << (8 * LENGTH.size) > FRAME_MAX
