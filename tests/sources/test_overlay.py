"""Overlays as a load finds them: of one with a fault the last good one applies, and the policy is not rejected."""

import os
from hashlib import sha256

import pytest

from ratelimitd.sources import OverlayFile, Paths, Pushed, find_overlay, loader
from ratelimitd.sources.child import perform
from ratelimitd.sources.files import signature
from ratelimitd.sources.frames import EndFrame, LoadJob, WarningFrame
from ratelimitd.sources.overlay import OVERLAY_BYTES
from testkit.control_plane import config, response

POLICY = "domain: d\ndescriptors:\n- {key: user, rate_limit: {unit: hour, requests_per_unit: 10}}\n"
PUSHED = Pushed(
    "c:1", "7", response("7", [config("d", {"key": "user", "rate_limit": {"unit": "hour"}})]).SerializeToString()
)
GCRA = b"overlay: [{domain: d, algorithm: gcra}]\n"
BAD = b"overlay: [{domain: d, algorithm: gcrq}]\n"


@pytest.fixture
def files(tmp_path):
    """A source of one file, and the path of an overlay that is yet to be written."""
    (tmp_path / "policy.yaml").write_text(POLICY)
    return Paths((str(tmp_path / "policy.yaml"),)), tmp_path / "overlay.yaml"


def frames(source, overlay):
    return list(perform(LoadJob(source, "fixed_window", False, 1 << 20, 1 << 30, overlay=overlay)))


def report(source, overlay):
    """What a load tells of an overlay."""
    (end,) = (frame for frame in frames(source, overlay) if isinstance(frame, EndFrame))
    return end.overlay


def faults(found):
    return [str(fault) for fault in found.faults]


@pytest.mark.process
@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "files"])
async def test_a_load_applies_the_overlay_to_whatever_source(files, pushed):
    """In the child process, which also says what was applied."""
    source, path = files
    path.write_bytes(GCRA)
    loaded = await loader.load(PUSHED if pushed else source, overlay=OverlayFile(str(path)))
    (limit,) = loaded.policy.nodes[1].limits
    assert (limit.rate.algorithm, limit.overlaid) == ("gcra", (("algorithm", 1),))
    assert (loaded.overlay.good, loaded.overlay.version) == (GCRA, sha256(GCRA).hexdigest())
    assert [entry._asdict() for entry in loaded.overlay.entries] == [
        {"line": 1, "domain": "d", "path": None, "said": {"algorithm": "gcra"}, "limits": 1, "left": 0}
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"#" * (OVERLAY_BYTES + 1), f"cannot be read: longer than {OVERLAY_BYTES} bytes"),
        (BAD, "must be one of fixed_window, "),
    ],
)
@pytest.mark.parametrize("good", [None, GCRA], ids=["none", "good"])
@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "files"])
def test_a_fault_leaves_the_last_good_one(files, content, said, good, pushed):
    """Or none, and in either case the policy is loaded."""
    source, path = files
    if content is not None:
        path.write_bytes(content)
    found = report(PUSHED if pushed else source, OverlayFile(str(path), good))
    assert (found.good, bool(found.version), len(found.entries)) == (good, good is not None, int(good is not None))
    ((fault),) = faults(found)
    assert fault.startswith(f"{path}: ")
    assert said in fault


@pytest.mark.process
async def test_a_policy_with_errors_says_what_was_found_of_the_overlay(files):
    """So a fault of the overlay is known, and a mended one too, while the policy is rejected."""
    _, path = files
    path.write_bytes(BAD)
    bad = Pushed("c:1", "8", response("8", [config("d", {"key": ""})]).SerializeToString())
    with pytest.raises(loader.InvalidPolicyError) as caught:
        await loader.load(bad, overlay=OverlayFile(str(path), GCRA))
    assert "gcrq" not in str(caught.value)
    assert (caught.value.overlay.good, len(caught.value.overlay.faults)) == (GCRA, 1)
    unreadable = Paths((str(path.parent / "nothing"),))
    assert report(unreadable, OverlayFile(str(path), GCRA)).good == GCRA


def test_without_an_overlay_there_is_nothing_to_tell(files):
    """A load is what it was."""
    assert report(files[0], None) is None


def test_entries_without_an_effect_are_warnings_of_a_load(files):
    """Also of a pushed policy, whose own text is not the operator's."""
    source, path = files
    path.write_bytes(b"overlay:\n- {domain: e, burst: 5}\n- {domain: d, burst: 5}\n")
    for each in (source, PUSHED):
        warned = [
            w for frame in frames(each, OverlayFile(str(path))) if isinstance(frame, WarningFrame) for w in frame[0]
        ]
        own = [(warning.file, warning.line, warning.rule) for warning in warned if "overlay" in warning.rule]
        assert own == [(str(path), 2, "overlay-unmatched"), (str(path), 3, "overlay-left")]


def test_a_change_of_the_overlay_changes_the_signature(files):
    """As one of a policy: written, removed, or swapped by Kubernetes; also beside a control plane."""
    source, path = files
    for each in (source, PUSHED):
        seen = {signature(each, str(path))}
        path.write_bytes(GCRA)
        seen.add(signature(each, str(path)))
        path.unlink()
        assert signature(each, str(path)) in seen
        data = path.parent / "..data"
        for version in ("1", "2"):
            (path.parent / version).mkdir()
            (path.parent / version / "overlay.yaml").write_bytes(GCRA)
            (path.parent / "..new").symlink_to(version)
            (path.parent / "..new").rename(data)
            if not path.is_symlink():
                path.symlink_to("..data/overlay.yaml")
            seen.add(signature(each, str(path)))
        assert len(seen) == 4
        for made in (path, data, *(path.parent / version / "overlay.yaml" for version in "12")):
            made.unlink()
        for version in "12":
            (path.parent / version).rmdir()
    assert signature(source) == signature(source, "")
    assert signature(PUSHED) == ()


def test_a_fifo_is_no_overlay(tmp_path):
    """Reading it would never end."""
    os.mkfifo(tmp_path / "overlay.yaml")
    assert faults(find_overlay(OverlayFile(str(tmp_path / "overlay.yaml")))) == [
        f"{tmp_path}/overlay.yaml: cannot be read: not a regular file"
    ]


@pytest.mark.parametrize("pushed", [True, False], ids=["pushed", "files"])
def test_a_fault_of_the_lint_costs_no_policy(files, monkeypatch, pushed):
    """Nor a NACK."""
    source, path = files
    path.write_bytes(GCRA)
    monkeypatch.setattr("ratelimitd.lint.check.check_overlay", None)
    warned = [f for f in frames(PUSHED if pushed else source, OverlayFile(str(path))) if isinstance(f, WarningFrame)]
    assert any("the lint failed" in str(warning) for frame in warned for warning in frame[0])
