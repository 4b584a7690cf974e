"""Files that policies name: API keys by tier, and the policies of a gateway file."""

from hashlib import sha256

import pytest

from ratelimitd.policy import PolicyErrors
from ratelimitd.policy_file import examine
from ratelimitd.sources import GatewayFile, Paths, RuntimeFolder, files, load, read_files, signature, tiers_beside

POLICY = """\
domain: d
identity: {key: k, tiers_file: %s}
descriptors:
  - {key: k, value: gold, rate_limit: {unit: day, requests_per_unit: 5}}
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def examined(source):
    return examine(read_files(source), beside=tiers_beside(source))


@pytest.mark.process
@pytest.mark.parametrize("name", ["keys.yaml", '"keys.yaml"', "../secret/keys.yaml", "'../secret/my keys.yaml'"])
@pytest.mark.parametrize("kind", ["file", "folder", "runtime"])
async def test_tiers_come_from_a_file_of_their_own(tmp_path, name, kind):
    """Beside the policy, where it is no policy itself, or elsewhere; relative to the policy; through the child too."""
    policy = write(tmp_path / "config" / "p.yaml", POLICY % name)
    write(policy.parent / name.strip("\"'"), "gold: [a, b]\nsilver: [c]\n")
    source = {
        "file": Paths((str(policy),)),
        "folder": Paths((str(policy.parent),)),
        "runtime": RuntimeFolder(str(tmp_path)),
    }[kind]
    loaded = await load(source)
    identity = loaded.policy.domains[b"d"].identity
    assert identity.tiers == {
        sha256(key).digest(): tier for key, tier in ((b"a", b"gold"), (b"b", b"gold"), (b"c", b"silver"))
    }
    assert loaded.summary.domains == 1


def test_a_change_of_the_keys_changes_the_signature(tmp_path):
    """So they are reloaded as the policy is, also when the file comes later."""
    policy = write(tmp_path / "p.yaml", POLICY % "keys/all.yaml")
    source = Paths((str(policy),))
    states = [signature(source)]
    for text in ("gold: [a]", "gold: [a, b]"):
        write(tmp_path / "keys" / "all.yaml", text)
        states.append(signature(source))
    assert len(set(states)) == 3
    assert signature(source) == states[-1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("keys.yaml", None, "p.yaml: 'tiers_file' cannot be read: No such file or directory (line 2)"),
        ("p.yaml", None, "p.yaml: 'tiers_file' refers to the policy file itself: name another file (line 2)"),
        ("keys.yaml", "gold: [canary", "keys.yaml: not valid YAML: a tiers file is a map"),
        ("keys.yaml", "gold: [*canary]", "keys.yaml: not valid YAML: a tiers file is a map"),
        ("keys.yaml", "gold:\n- canary\n- {canary: 1}", "keys.yaml: a key must be a non-empty text (line 3)"),
        ('"key\\x73.yaml"', "gold: [a]", "write its name after 'tiers_file:' on the same line"),
    ],
)
def test_a_wrong_file_of_keys_is_an_error_in_its_place(tmp_path, name, content, said):
    """Its name and line, or those of the policy that names it; no key."""
    source = Paths((str(write(tmp_path / "p.yaml", POLICY % name).parent),))
    if content:
        write(tmp_path / "keys.yaml", content)
    shown = "\n".join(map(str, examined(source).errors))
    assert said in shown
    assert "canary" not in shown


def test_a_large_file_is_searched_bit_by_bit(tmp_path, monkeypatch):
    """Each search is short, since the event loop waits for it, and a name across the end of one is found, once."""
    monkeypatch.setattr(files, "SEARCHED", 64)
    searches = []

    class Watched:
        def finditer(self, content, start, end):
            searches.append(end - start)
            return pattern.finditer(content, start, end)

    pattern = files._TIERS_FILE
    monkeypatch.setattr(files, "_TIERS_FILE", Watched())
    names = [f"keys{number}.yaml" for number in range(40)]
    content = "".join(f"tiers_file: {name}\n" + "#" * (number % 7) + "\n" for number, name in enumerate(names))
    source = Paths((str(write(tmp_path / "p.yaml", content)),))
    assert [stamp[0] for stamp in signature(source)[1:]] == names
    assert len(searches) > len(content) // 64
    assert max(searches) <= 64 + files.NAME_BYTES


def test_a_name_in_a_comment_hides_no_policy(tmp_path):
    """Only what the YAML names is taken for keys."""
    write(tmp_path / "a.yaml", "# tiers_file: b.yaml\ndomain: a\n")
    write(tmp_path / "b.yaml", "domain: b\n")
    assert examined(Paths((str(tmp_path),))).summary.domains == 2


@pytest.mark.process
async def test_dismantling_empties_the_table_of_keys(tmp_path):
    """Bit by bit, like the rest of an old policy."""
    from ratelimitd.sources import dismantle

    policy = write(tmp_path / "p.yaml", POLICY % "keys.yaml")
    write(tmp_path / "keys.yaml", "gold: [a]")
    loaded = await load(Paths((str(policy),)))
    tiers = loaded.policy.domains[b"d"].identity.tiers
    await dismantle(loaded.policy)
    assert not tiers


@pytest.mark.process
@pytest.mark.parametrize("inline", ["policies:\n  domain: d\n", "policies:\n  - domain: d\n  - domain: e\n"])
async def test_policies_may_stand_in_a_gateway_file(tmp_path, inline):
    """One, or a list of them; errors have the gateway file's lines."""
    source = GatewayFile(str(write(tmp_path / "gateway.yaml", "listen: ':1'\n" + inline)))
    assert b"d" in (await load(source)).policy.domains
    write(
        tmp_path / "gateway.yaml",
        "listen: ':1'\n" + inline + "    nonsense: 1\n" if "-" in inline else inline + "  nonsense: 1\n",
    )
    (error,) = examined(source).errors
    assert error.line == len((tmp_path / "gateway.yaml").read_text().splitlines())


@pytest.mark.process
async def test_policies_may_be_a_folder_beside_a_gateway_file(tmp_path):
    """Relative to it, watched with it, and with their tiers."""
    write(tmp_path / "policies" / "p.yaml", POLICY % "../keys.yaml")
    write(tmp_path / "keys.yaml", "gold: [a]")
    source = GatewayFile(str(write(tmp_path / "gateway.yaml", "policies: policies\n")))
    assert b"d" in (await load(source)).policy.domains
    states = {signature(source)}
    for path in (tmp_path / "gateway.yaml", tmp_path / "policies" / "p.yaml", tmp_path / "keys.yaml"):
        path.write_text(path.read_text() + "\n")
        states.add(signature(source))
    assert len(states) == 4


def test_a_gateway_file_that_is_no_yaml_is_an_error_with_its_line(tmp_path):
    """Or that is not there."""
    source = GatewayFile(str(write(tmp_path / "gateway.yaml", "a: b\nc: [\n")))
    with pytest.raises(PolicyErrors, match=r"gateway.yaml: not valid YAML.*\(line 3\)"):
        read_files(source)
    with pytest.raises(PolicyErrors, match="cannot be read: No such file"):
        read_files(GatewayFile(str(tmp_path / "none.yaml")))
