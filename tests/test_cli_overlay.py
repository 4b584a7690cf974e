"""Commands with an overlay: how each takes it, and what it says of a fault in one."""

import json

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main

POLICY = "domain: shop\ndescriptors:\n  - {key: user, rate_limit: {unit: minute, requests_per_unit: 6}}\n"
OVERLAY = "overlay:\n- {domain: shop, algorithm: token_bucket, burst: 2}\n"


def cli(*words, env=None):
    return CliRunner(env=env).invoke(main, [str(word) for word in words])


@pytest.fixture
def files(tmp_path):
    """Paths of a policy and of an overlay."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "overlay.yaml").write_text(OVERLAY)
    return tmp_path / "policy.yaml", tmp_path / "overlay.yaml"


@pytest.mark.parametrize("by", ["flag", "variable"])
def test_validate_says_what_the_entries_are_for(files, by):
    """A fault is an error with its line, and what has no effect a warning."""
    policy, overlay = files

    def validate(*words):
        if by == "flag":
            return cli("validate", policy, "--overlay", overlay, *words)
        return cli("validate", policy, *words, env={"POLICY_OVERLAY": str(overlay)})

    assert (validate("--strict").exit_code, validate().output) == (0, "ok: 1 domain, 1 descriptor, 1 limit\n")
    overlay.write_text(OVERLAY + "- {domain: shopp, burst: 2}\n")
    warned = validate("--strict")
    assert (warned.exit_code, "for no domain of the policy (line 3)" in warned.output) == (1, True)
    overlay.write_text("overlay:\n- {domain: shop, burts: 2}\n")
    wrong = validate()
    assert (wrong.exit_code, "did you mean 'burst'? (line 2)" in wrong.output) == (1, True)
    policy.write_text("descriptors: []\n")
    both = json.loads(validate("--json").output)
    assert [error["file"].rpartition("/")[2] for error in both["errors"]] == ["policy.yaml", "overlay.yaml"]


def test_validate_of_an_overlay_alone(files, tmp_path):
    """The policy of a control plane is not at hand; nothing is said of what matches."""
    _, overlay = files
    well = cli("validate", "--overlay", overlay)
    assert (well.exit_code, well.output.startswith("ok: the overlay")) == (0, True)
    missing = cli("validate", "--overlay", tmp_path / "nothing")
    assert (missing.exit_code, "nothing: cannot be read: No such file" in missing.output) == (1, True)
    assert cli("validate").exit_code == 2


def test_an_overlay_given_as_a_policy_says_what_it_is(files):
    """And the reverse."""
    policy, overlay = files
    assert "this is an overlay, not a policy: give it with --overlay" in cli("validate", overlay).output
    assert "this is a policy, not an overlay: give it with --config" in cli("validate", "--overlay", policy).output


def test_explain_says_where_words_are_from(files):
    """Of the files that are given; a service applies its own overlay."""
    policy, overlay = files
    words = ("check", "--explain", "-d", "shop", "user=a")
    (line,) = (
        line for line in cli(*words, "--config", policy, "--overlay", overlay).output.splitlines() if " has " in line
    )
    assert line.endswith("algorithm: token_bucket burst: 2 overlay: algorithm (line 2), burst (line 2)")
    assert "overlay" not in cli(*words, "--config", policy).output
    wrong = cli(*words, "--overlay", overlay)
    assert (wrong.exit_code, "--overlay belongs to --config" in wrong.output) == (2, True)


def test_simulate_decides_with_the_overlay(files):
    """A burst of two, of three requests at once."""
    policy, overlay = files
    words = ("simulate", policy, "-d", "shop", "user=a", "--rate", "100/s", "--for", "30ms", "--json")

    def allowed(*more):
        (run,) = json.loads(cli(*words, *more).output)["runs"]
        return run["allowed"]

    assert (allowed(), allowed("--overlay", overlay)) == (3, 2)


def test_diff_applies_the_overlay_to_both(files, tmp_path):
    """So what it says of both alike is no difference."""
    policy, overlay = files
    new = tmp_path / "new.yaml"
    new.write_text(POLICY.replace("6", "6, algorithm: token_bucket, burst: 2"))
    assert cli("diff", policy, new).exit_code == 1
    assert cli("diff", policy, new, "--overlay", overlay).exit_code == 0
    overlay.write_text("overlay: [{}]\n")
    assert cli("diff", policy, new, "--overlay", overlay).exit_code == 2
