"""Which packages the program needs, and which of them an environment has."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"
# Extras that every installation has, and those with the engine: one of the latter is installed.
_ALWAYS, _ENGINES = ("report",), ("cuda", "cpu")


def installed(package: str) -> str | None:
    """Return a package's version, None if it is not there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Return the commit that the program runs from, None if it is not a checkout or git is missing."""
    if not (_PROJECT.parent / ".git").exists():
        return None
    command = ["git", "-C", str(_PROJECT.parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def faults() -> list[str]:
    """Return what this environment lacks, one package a line; empty if it has everything."""
    project = tomllib.loads(_PROJECT.read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *(each for name in _ALWAYS for each in extras[name])]
    found = []
    if not SpecifierSet(project["requires-python"]).contains(python := sys.version.split()[0], prereleases=True):
        found.append(f"Python {python}, expected {project['requires-python']}")
    found += [fault for each in needed if (fault := _fault(each))]
    engines = [_fault(each) for name in _ENGINES for each in extras[name] if each.startswith("vllm")]
    if all(engines):
        present = [fault for fault in engines if fault and "not installed" not in fault]
        found.append(present[0] if present else "vllm: not installed")
    return found


def _fault(needed: str) -> str | None:
    requirement = Requirement(needed)
    have = installed(requirement.name)
    if have is None:
        return f"{requirement.name}: not installed"
    # A build's own label, as in 2.13.0+cpu, is no part of the version that is asked for.
    plain = re.sub(r"\+.*", "", have)
    if requirement.specifier.contains(plain, prereleases=True):
        return None
    return f"{requirement.name}: got {have}, expected {requirement.specifier}"


if __name__ == "__main__":
    for fault in (lacking := faults()):
        print(f"error: {fault}", file=sys.stderr)
    sys.exit(2 if lacking else 0)
