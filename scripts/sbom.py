"""The image's software bill of materials, as CycloneDX JSON without addresses. `make sbom` writes build/sbom.cdx.json.

Python's packages are those of the lock. With ``--root``, an unpacked image, licences are those of what is installed
there, and Debian's packages have versions.
"""

import argparse
import json
import platform
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

ROOT: Final = Path(__file__).parents[1]
LOCK: Final = ("requirements.txt", "requirements-otel.txt")
PIN: Final = re.compile(r"^([\w.-]+)==([^\s;\\]+)((?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})*)", re.MULTILINE)
STATUS: Final = "var/lib/dpkg/status.d"
MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}

Component = dict[str, Any]


def canonical(name: str) -> str:
    """Return a project's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def encoded(text: str) -> str:
    """Return a name or version as it is written in a package URL (ECMA-427 5.4)."""
    return quote(text, safe=":")


def main() -> None:
    """Write the bill of materials."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--root", type=Path, help="folder of an unpacked image")
    parser.add_argument("--output", type=Path, default=ROOT / "build/sbom.cdx.json")
    given = parser.parse_args()
    bill = bill_of_materials(given.root)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    print(f"{given.output}: {len(bill['components'])} packages")


def bill_of_materials(root: Path | None) -> dict[str, Any]:
    """Return the document. It has no time and no serial number, so that equal images have equal ones."""
    installed = installed_packages(root)
    python = [python_package(*pin, installed) for pin in pins()]
    debian = unpacked_debian(root) if root else named_debian()
    own = own_package()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": [*python, *debian],
        "dependencies": dependencies(own, python, debian, installed),
    }


def pins() -> list[tuple[str, str, list[str]]]:
    """Return name, version and SHA-256 of the files of each package in the lock."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in LOCK]
    found = {each[1]: each for text in texts for each in PIN.finditer(text)}
    return [
        (name, found[name][2], re.findall(r"[0-9a-f]{64}", found[name][3])) for name in sorted(found, key=canonical)
    ]


def installed_packages(root: Path | None) -> Mapping[str, metadata.Distribution]:
    """Return the installed packages by name: of the image, or of the Python that runs this."""
    folders = [str(each) for each in root.glob("opt/ratelimitd/lib/python*/site-packages")] if root else None
    found = metadata.distributions() if folders is None else metadata.distributions(path=folders)
    return {canonical(each.metadata["Name"]): each for each in found}


def own_package() -> Component:
    """Return the component that all others belong to."""
    text = (ROOT / "ratelimitd/__init__.py").read_text(encoding="utf-8")
    (version,) = re.findall(r'^__version__.*= "(.*)"$', text, re.MULTILINE)
    purl = f"pkg:pypi/ratelimitd@{version}"
    named = {"bom-ref": purl, "name": "ratelimitd", "version": version, "purl": purl}
    return {"type": "application", **named, "licenses": [{"license": {"id": "MIT"}}]}


def python_package(
    name: str, version: str, hashes: Iterable[str], installed: Mapping[str, metadata.Distribution]
) -> Component:
    """Return a package of the lock, with the hashes of all files that the lock admits."""
    purl = f"pkg:pypi/{canonical(name)}@{encoded(version)}"
    found = installed.get(canonical(name))
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": each} for each in hashes],
        **({"licenses": licences(found)} if found and licences(found) else {}),
    }


def licences(package: metadata.Distribution) -> list[dict[str, Any]]:
    """Return a package's licence: the SPDX expression (PEP 639), else the classifiers, else a short text."""
    if expression := package.metadata["License-Expression"]:
        return [{"expression": expression}]
    classified = [
        each.rpartition(" :: ")[2] for each in package.metadata.get_all("Classifier", []) if "License ::" in each
    ]
    named = classified or [each for each in [package.metadata["License"]] if each and "\n" not in each]
    return [{"license": {"name": each}} for each in named]


def unpacked_debian(root: Path) -> list[Component]:
    """Return Debian's packages in an unpacked image."""
    return [debian_package(each.read_text(encoding="utf-8")) for each in sorted((root / STATUS).iterdir())]


def debian_package(control: str) -> Component:
    """Return the component of a package's control file."""
    fields = dict(re.findall(r"^(Package|Version|Architecture): (\S+)$", control, re.MULTILINE))
    name, version = fields["Package"], fields["Version"]
    purl = f"pkg:deb/debian/{encoded(name)}@{encoded(version)}?arch={fields['Architecture']}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def named_debian() -> list[Component]:
    """Return Debian's packages as the Dockerfile names them; a build takes their versions of its day."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (names,) = re.findall(r"^RUN apt-get download (.*)$", text, re.MULTILINE)
    machine = MACHINES.get(platform.machine(), platform.machine())
    purls = {name: f"pkg:deb/debian/{encoded(name)}?arch={machine}" for name in names.split()}
    return [{"type": "library", "bom-ref": purl, "name": name, "purl": purl} for name, purl in purls.items()]


def dependencies(
    own: Component, python: list[Component], debian: list[Component], installed: Mapping[str, metadata.Distribution]
) -> list[dict[str, Any]]:
    """Return which component depends on which; the program on what it names and on Debian's packages."""
    refs = {canonical(each["name"]): each["bom-ref"] for each in python}

    def needed(name: str) -> list[str]:
        found = installed.get(canonical(name))
        names = {
            canonical(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in (found.requires or [] if found else [])
        }
        return sorted({refs[each] for each in names if each in refs})

    rows = [(each["bom-ref"], needed(each["name"])) for each in python]
    direct = [*needed("ratelimitd"), *(each["bom-ref"] for each in debian)]
    return [{"ref": ref, "dependsOn": sorted(on)} for ref, on in [(own["bom-ref"], direct), *rows] if on]


if __name__ == "__main__":
    main()
