"""The files that a page loads when a problem is opened: its traces, verdicts and probes, as scripts beside it.

A page that was opened from disk may not fetch files, but it may run scripts beside it; so each file is one call with JSON as its
argument. Texts come in files of their own, a few traces each, cut in their middle where they are long.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruner.results.query import Results
from pruner.system.files import partial_name

TEXTS_A_FILE = 32
_ROWS_AT_ONCE = 2048
_MOST_VERDICTS = 20_000
_TRACES = """
    SELECT problem_index, trace_index, status, finish_reason, prune_reason, answer, correct, is_voter, cluster_index,
        tokens_sampled, tokens_prefix, segment_tokens, segment_chars, coalesce(length(text), 0) AS chars,
        left(text, $head) AS head, CASE WHEN length(text) > $head + $tail THEN right(text, $tail)
            ELSE substr(text, $head + 1) END AS tail
    FROM traces WHERE run = $run AND problem_index >= $first AND problem_index < $last ORDER BY problem_index, trace_index"""
_VERDICTS = """
    SELECT problem_index, left_trace, right_trace, score FROM verdicts
    WHERE run = $run AND problem_index >= $first AND problem_index < $last ORDER BY problem_index, left_trace, right_trace"""
_PROBES = """
    SELECT problem_index, trace_index, num_tokens, answer FROM probes
    WHERE run = $run AND problem_index >= $first AND problem_index < $last ORDER BY problem_index, trace_index, num_tokens"""


@dataclass(frozen=True)
class Limits:
    """chars: of one trace's text; the middle of a longer one is left out. bytes: of all texts; the last problems go without."""

    chars: int
    bytes: int


@dataclass(frozen=True)
class Written:
    """Bytes of texts that were written, and problems whose texts were left out, by run."""

    text_bytes: int
    without_text: dict[str, int]


def script_json(value: Any) -> str:
    """Return JSON that can be put into a script, be it inside a page: nothing in it ends the script or begins markup."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def write_payload(
    results: Results, runs: Sequence[str], target: Path, limits: Limits, problems: dict[str, list[int]]
) -> Written:
    """Write the files of every problem of these runs: `<number of the run>/<problem_index>.js` and its texts.

    Args:
        problems: problem indexes by run.
    """
    text_bytes = 0
    without: defaultdict[str, int] = defaultdict(int)
    for number, run in enumerate(runs):
        folder = target / str(number)
        for index, rows, verdicts, probes in _problems(results, run, problems.get(run, []), limits):
            has_text = any(row["head"] for row in rows)
            is_left_out = has_text and text_bytes >= limits.bytes
            _write(
                folder / f"{index}.js",
                f"{number}/{index}",
                _problem(rows, verdicts, probes, has_text and not is_left_out),
            )
            if is_left_out:
                without[run] += 1
            elif has_text:
                for chunk, texts in enumerate(_chunks(rows)):
                    text_bytes += _write(folder / f"{index}.{chunk}.js", f"{number}/{index}.{chunk}", texts)
    return Written(text_bytes, dict(without))


def _problems(
    results: Results, run: str, indexes: Sequence[int], limits: Limits
) -> Iterator[tuple[int, list[dict[str, Any]], list[Any], list[Any]]]:
    """Yield each problem's traces, verdicts and probes, read a few problems at a time."""
    if not indexes:
        return
    most = results.rows("SELECT max(budget) AS n FROM answers WHERE run = $run", {"run": run})[0]["n"] or 1
    step = max(1, _ROWS_AT_ONCE // most)
    tail = limits.chars // 4
    for first in range(min(indexes), max(indexes) + 1, step):
        key = {"run": run, "first": first, "last": first + step}
        rows = _grouped(results.rows(_TRACES, key | {"head": limits.chars - tail, "tail": tail}))
        verdicts, probes = _grouped(results.rows(_VERDICTS, key)), _grouped(results.rows(_PROBES, key))
        for index in range(first, first + step):
            if index in rows:
                judged = [[v["left_trace"], v["right_trace"], v["score"]] for v in verdicts[index][:_MOST_VERDICTS]]
                probed = [[p["trace_index"], p["num_tokens"], p["answer"]] for p in probes[index]]
                yield index, rows[index], judged, probed


def _grouped(rows: Iterable[dict[str, Any]]) -> defaultdict[int, list[dict[str, Any]]]:
    groups: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[row["problem_index"]].append(row)
    return groups


def _problem(rows: Sequence[dict[str, Any]], verdicts: list[Any], probes: list[Any], has_text: bool) -> dict[str, Any]:
    names = ("trace_index", "status", "finish_reason", "prune_reason", "answer", "correct", "is_voter", "cluster_index")
    traces = [
        {name: row[name] for name in names}
        | {"tokens": row["tokens_sampled"], "prefix": row["tokens_prefix"], "segments": row["segment_tokens"] or []}
        for row in rows
    ]
    return {
        "traces": traces,
        "verdicts": verdicts,
        "probes": probes,
        "has_text": has_text,
        "texts_a_file": TEXTS_A_FILE,
    }


def _chunks(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), TEXTS_A_FILE):
        yield [
            {
                "head": row["head"] or "",
                "tail": row["tail"] or "",
                "chars": row["chars"],
                "prefix_chars": _prefix_chars(row),
            }
            for row in rows[start : start + TEXTS_A_FILE]
        ]


def _prefix_chars(row: dict[str, Any]) -> int | None:
    """Return the length of the text of the trace's prefix, which ends where a segment does; None if that is not known."""
    tokens, chars = row["segment_tokens"], row["segment_chars"]
    if not tokens or not chars:
        return None
    done = length = 0
    for count, letters in zip(tokens, chars, strict=True):
        if done >= row["tokens_prefix"]:
            break
        done += count
        length += letters
    return length if done == row["tokens_prefix"] else None


def _write(path: Path, key: str, value: Any) -> int:
    text = f"receive({script_json(key)},{script_json(value)});\n"
    data = text.encode("utf-8", errors="replace")
    # Not synced: there may be tens of thousands of them, and a report is made again at any time.
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_name(path)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return len(data)
