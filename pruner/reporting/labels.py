"""Short labels that distinguish the runs of a report."""

from __future__ import annotations

from collections.abc import Sequence


def label_runs(names: Sequence[str]) -> dict[str, str]:
    """Return what is shown of each run's name: the method, then those of its overrides that not all runs share, with short
    keys; the whole name where that is no name by overrides or two would be one."""
    if len(names) < 2:
        return {name: name for name in names}
    parts = {name: name.split(",") for name in names}
    shared = set.intersection(*(set(each) for each in parts.values()))
    labels = {
        name: ", ".join(_label_part(part) for part in _method_first(each) if part not in shared)
        for name, each in parts.items()
    }
    return {
        name: label if label and list(labels.values()).count(label) == 1 else name for name, label in labels.items()
    }


def _method_first(parts: Sequence[str]) -> list[str]:
    return sorted(parts, key=lambda part: not part.startswith("method="))


def _label_part(part: str) -> str:
    """Return `cons` for `method=cons`, and the last part of any other key."""
    key, equals, value = part.partition("=")
    if not equals:
        return part
    last = key.rpartition(".")[2]
    return value if key in ("method", "judge") else f"{'prefix' if key == 'prefix.max_tokens' else last} {value}"
