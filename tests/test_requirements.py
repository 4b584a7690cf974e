"""The pinned requirements: each has the hashes of its files, and agrees with pyproject.toml."""

import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))
HASHES = runpy.run_path(str(ROOT / "scripts/hashes.py"))
SBOM = runpy.run_path(str(ROOT / "scripts/sbom.py"))


def pins(name):
    """(name, version, number of hashes) of each requirement of a file."""
    joined = (ROOT / name).read_text().replace("\\\n", " ")
    return [
        (*re.fullmatch(r"([\w.-]+)==(\S+)", line.split()[0]).groups(), len(line.split()) - 1)
        for line in joined.splitlines()
        if not line.startswith("#")
    ]


@pytest.mark.parametrize("name", FILES)
def test_each_has_hashes_and_no_place(name):
    """pip asks the index that it is configured with, and takes only files whose hash is listed."""
    assert [each for each in pins(name) if each[2] == 0] == []
    extra = [
        word for word in (ROOT / name).read_text().split() if word.startswith("-") and "--hash=sha256:" not in word
    ]
    assert extra == []
    assert "://" not in (ROOT / name).read_text()


def test_pins_are_what_pyproject_asks_for():
    """Each library is pinned, to a version that an installation by name may have too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = {
        "requirements.txt": project["project"]["dependencies"],
        "requirements-otel.txt": extras["otel"],
        "requirements-build.txt": project["build-system"]["requires"],
        "requirements-dev.txt": [*extras["envoy"], *extras["plot"]],
    }
    for name, requirements in wanted.items():
        found = {canonicalize_name(package): version for package, version, _ in pins(name)}
        for each in map(Requirement, requirements):
            assert each.specifier.contains(found[canonicalize_name(each.name)]), each


@pytest.mark.parametrize(
    ("filename", "taken"),
    [
        ("a-1-py3-none-any.whl", True),
        ("a-1-py2.py3-none-any.whl", True),
        ("a-1-cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("a-1-cp314-cp314-musllinux_1_2_aarch64.whl", True),
        ("a-1-cp39-abi3-manylinux_2_28_x86_64.whl", True),
        ("a-1-cp310-cp310-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp314-cp314t-manylinux_2_17_x86_64.whl", False),
        ("a-1-cp312-cp312-macosx_11_0_arm64.whl", False),
        ("a-1-cp312-cp312-manylinux_2_17_i686.whl", False),
        ("a-1.tar.gz", False),
    ],
)
def test_hashes_are_of_what_supported_pythons_install(filename, taken):
    """CPython 3.11 to 3.14 on Linux, x86_64 and aarch64, glibc and musl."""
    assert HASHES["fits"](filename) is taken


def test_hashes_take_the_place_of_those_before():
    """And comments stay."""
    files = [{"filename": "a-1-py3-none-any.whl", "hashes": {"sha256": "new"}}]
    text = "# why\na==1 \\\n    --hash=sha256:old\n"
    assert HASHES["hashed"](text, lambda _: files) == text.replace("old", "new")


@pytest.mark.parametrize("line", ["a>=1", "a", "a[b]==1", 'a==1; python_version < "3.12"', "-r other.txt", ""])
def test_a_line_that_gets_no_hash_is_an_error(line):
    """Pip would refuse it at each installation."""
    with pytest.raises(SystemExit, match="write NAME==VERSION alone, or a comment"):
        HASHES["hashed"](f"{line}\n", lambda _: [])


def test_an_sdist_is_admitted_where_a_wheel_is_missing():
    """And not where each Python has a wheel, so that no code of it runs at an installation."""
    files = [
        {"filename": name, "hashes": {"sha256": name}} for name in ("a-1-cp312-cp312-linux_x86_64.whl", "a-1.tar.gz")
    ]
    assert HASHES["chosen"](files, "1") == ["a-1-cp312-cp312-linux_x86_64.whl", "a-1.tar.gz"]
    files[0] = {"filename": "a-1-py3-none-any.whl", "hashes": {"sha256": "wheel"}}
    assert HASHES["chosen"](files, "1") == ["wheel"]


@pytest.fixture
def image(tmp_path):
    """A folder with what an unpacked image has of a package of Debian and one of Python."""
    status = tmp_path / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    (status / "libstdc++6").write_text(
        "Package: libstdc++6\nSource: gcc-14\nVersion: 1:14.2.0-19+deb13u1\nArchitecture: arm64\n"
    )
    click = tmp_path / "opt/ratelimitd/lib/python3.13/site-packages/click-8.dist-info"
    click.mkdir(parents=True)
    (click / "METADATA").write_text("Metadata-Version: 2.4\nName: click\nVersion: 8\nLicense-Expression: 0BSD\n")
    return tmp_path


def test_the_bill_of_materials_has_all_of_the_image_and_no_address():
    """Python's packages with hashes and Debian's; nothing in it leads to a registry."""
    bill = SBOM["bill_of_materials"](None)
    names = {each["name"] for each in bill["components"]}
    locked = {name for file in ("requirements.txt", "requirements-otel.txt") for name, *_ in pins(file)}
    assert locked <= names
    assert {"libnghttp2-14", "libc6", "python3.13-minimal"} <= names
    assert "://" not in json.dumps(bill)
    refs = {each["bom-ref"] for each in [bill["metadata"]["component"], *bill["components"]]}
    assert {ref for each in bill["dependencies"] for ref in [each["ref"], *each["dependsOn"]]} <= refs


def test_the_bill_of_an_unpacked_image_has_the_versions_and_licences_in_it(image):
    """Not those of the machine that makes it."""
    bill = SBOM["bill_of_materials"](image)
    found = {each["name"]: each for each in bill["components"]}
    assert [name for name in found if name.startswith("lib")] == ["libstdc++6"]
    assert found["libstdc++6"]["version"] == "1:14.2.0-19+deb13u1"
    assert [name for name, each in found.items() if "licenses" in each] == ["click"]
    assert found["click"]["licenses"] == [{"expression": "0BSD"}]


@pytest.mark.parametrize("unpacked", [False, True])
def test_the_bill_of_materials_is_valid(unpacked, image):
    """By the JSON schema of CycloneDX 1.6, which knows the names of licences; a scanner refuses another one."""
    bill = SBOM["bill_of_materials"](image if unpacked else None)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    purls = [each["purl"] for each in bill["components"]]
    assert [each for each in purls if PackageURL.from_string(each).to_string() != each] == []
