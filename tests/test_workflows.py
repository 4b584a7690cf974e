"""The workflows of CI, as far as they can be read: what they may do, what they run, and where that comes from."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(path.name for path in FOLDER.glob("*.yml"))

IMAGE = {"contents": "read", "packages": "write"}
PROOF = {"id-token": "write", "attestations": "write"}
WRITES = {
    ("release.yml", "publish"): {"id-token": "write"},
    ("release.yml", "image"): IMAGE | PROOF,
    ("image.yml", "build"): IMAGE,
    ("image.yml", "publish"): {"packages": "write"} | PROOF,
}
"""Permissions of jobs beyond reading the repository, each with its reason in the workflow."""

HOSTS = re.compile(r"\b[a-z0-9-]+\.(?:io|org|com|dev|net)\b|https?:")
"""Hosts: a registry is the default of an action, or a variable."""


@pytest.fixture(params=FILES)
def workflow(request):
    return request.param, yaml.safe_load((FOLDER / request.param).read_text())


def jobs(workflow):
    return workflow[1]["jobs"].items()


def steps(workflow):
    return [(name, step) for name, job in jobs(workflow) for step in job.get("steps", [])]


def test_there_are_workflows():
    """Those that docs/testing.md describes."""
    assert {"ci.yml", "image.yml", "release.yml", "wheels.yml"} <= {*FILES}


def test_actions_are_pinned_by_their_commit(workflow):
    """A tag can be moved to other code. Workflows of this repository are those of the same commit."""
    used = [step["uses"] for _, step in steps(workflow) if "uses" in step]
    used += [job["uses"] for _, job in jobs(workflow) if "uses" in job]
    assert [
        each
        for each in used
        if not each.startswith("./") and not re.fullmatch(r"[\w.-]+(/[\w.-]+)+@[0-9a-f]{40}", each)
    ] == []
    assert [each for each in used if each.startswith("./") and not (ROOT / each).is_file()] == []


def test_an_action_has_one_commit_everywhere():
    """And the comment beside it its version, by which it is brought up to date."""
    pins = {}
    for name in FILES:
        for action, pin in re.findall(r"uses: ([\w./-]+)@(.*)", (FOLDER / name).read_text()):
            pins.setdefault(action, set()).add(pin)
    assert {action: found for action, found in pins.items() if len(found) > 1} == {}
    assert all(re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin) for found in pins.values() for pin in found)


def test_a_job_may_read_the_repository_and_no_more(workflow):
    """Nothing is permitted to a workflow; a job says what it needs, and one that publishes proves its identity."""
    name, content = workflow
    assert content["permissions"] == {}
    for job, settings in jobs(workflow):
        assert settings["permissions"] in ({}, {"contents": "read"}, WRITES.get((name, job))), job


def test_a_checkout_leaves_no_token(workflow):
    """Later steps run code of packages."""
    found = [step["with"] for _, step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert all(each["persist-credentials"] is False for each in found)


def test_jobs_end_and_runs_of_one_branch_do_not_add_up(workflow):
    """A job that hangs would take GitHub's six hours; what is called runs in the group of its caller."""
    name, content = workflow
    assert [
        job for job, settings in jobs(workflow) if "uses" not in settings and "timeout-minutes" not in settings
    ] == []
    only_called = list(content.get("on") or content.get(True)) == ["workflow_call"]
    assert only_called or content["concurrency"]["group"], name


def test_what_runs_is_a_script_of_the_repository(workflow):
    """Or a target of the Makefile: whatever a job does can be done elsewhere. Values reach it by the environment."""
    makefile = (ROOT / "Makefile").read_text()
    for name, step in steps(workflow):
        run = step.get("run", "")
        assert "${{" not in run, name
        for script in re.findall(r"scripts/[\w.-]+", run):
            assert (ROOT / script).is_file(), script
            assert script.endswith(".py") or (ROOT / script).stat().st_mode & 0o111, script
        for target in re.findall(r"^make (?:PYTHON=\S+ )?(\S+)", run, re.MULTILINE):
            assert f"\n{target}:" in makefile, target


def test_an_image_is_checked_before_it_is_pushed():
    """A signed image that does not start would be one that users pin."""
    build = yaml.safe_load((FOLDER / "image.yml").read_text())["jobs"]["build"]["steps"]
    pushes = [each for each, step in enumerate(build) if "push=true" in step.get("with", {}).get("outputs", "")]
    checks = [each for each, step in enumerate(build) if re.search(r"^make .*\bimage$", step.get("run", ""))]
    assert len(pushes) == len(checks) == 1
    assert checks < pushes
    archives = [step["with"]["outputs"] for step in build if "type=docker" in step.get("with", {}).get("outputs", "")]
    assert archives == [f"type=docker,dest={build[checks[0]]['env']['ARCHIVE']}"]


def test_every_script_for_ci_is_called():
    """One that nothing calls is not tested by being run."""
    called = "".join(path.read_text() for path in FOLDER.glob("*.yml"))
    assert [path.name for path in ROOT.glob("scripts/ci-*") if f"scripts/{path.name}" not in called] == []


def test_no_host_is_named(workflow):
    """The registries are those of the actions; the image's is a variable."""
    name, _ = workflow
    contexts = r"\bgithub\.(ref|event|event_name|repository|server_url|sha|actor|token)\w*"
    text = re.sub(contexts, "", (FOLDER / name).read_text())
    assert HOSTS.findall(text) == []


@pytest.mark.process
@pytest.mark.skipif(shutil.which("actionlint") is None, reason="actionlint is not installed")
def test_actionlint_finds_nothing():
    """Its own check of expressions, contexts and shell."""
    done = subprocess.run(["actionlint"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout


@pytest.mark.process
@pytest.mark.parametrize(
    ("tag", "changelog", "said"),
    [
        ("v1.2.3", "## [1.2.3] - 2026-11-30\n", ""),
        ("v1.2.4", "## [1.2.3] - 2026-11-30\n", "the tag is v1.2.4, and the version of the package 1.2.3\n"),
        ("1.2.3", "## [1.2.3] - 2026-11-30\n", "the tag is 1.2.3, and the version of the package 1.2.3\n"),
        ("v1.2.3", "## [Unreleased]\n", 'CHANGELOG.md has no section "## [1.2.3] - DATE"\n'),
    ],
)
def test_a_release_is_of_the_version_that_the_tag_names(tag, changelog, said, tmp_path):
    """And the changelog says what is in it, with its date."""
    (tmp_path / "ratelimitd").mkdir()
    (tmp_path / "ratelimitd" / "__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text(changelog)
    script = ROOT / "scripts" / "ci-version"
    done = subprocess.run([script, tag], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=30)
    assert (done.stderr, done.returncode) == (said, int(said != ""))
