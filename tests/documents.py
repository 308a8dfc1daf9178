"""The project's documents, found in its own folders; those of installed packages, caches and outputs are not."""

from pathlib import Path

PROJECT = Path(__file__).parents[1]
FOLDERS = (".github", "conf", "jobs", "pruner", "slurm", "tests")
README = PROJECT / "README.md"


def documents() -> list[Path]:
    """Return every document: the README first, the others by path."""
    return [README, *sorted(path for folder in FOLDERS for path in (PROJECT / folder).rglob("*.md"))]
