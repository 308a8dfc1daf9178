"""What the fuzzer throws at the program: values, names, tables and bytes, hostile ones above all."""

from __future__ import annotations

import io
import math

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

HOSTILE_TEXTS = (
    *(
        "",
        " ",
        "\t",
        "\n",
        "\0",
        "\x1b[31m",
        "\x85",
        "\u2028",
        "\u202e",
        "\ud800",
        "\udcff",
        "a\nb",
        "é",
        "日本語" * 40,
    ),
    *(
        "~",
        "~x",
        "..",
        ".",
        "/",
        "//",
        "a/b",
        "a\\b",
        "?",
        "*",
        "[1]",
        "a[1]",
        "a*",
        "%s",
        "{x}",
        "${x}",
        "$(x)",
        "'",
        '"',
    ),
    *("views.sql", "report", "CON", "-x", "--", "null", "nan", "inf", "1e999", "True", "file:x", "s3://x/y", "x" * 300),
    *("/dev/null", "/dev/zero", "/proc/self/mem", "/nowhere/x", "conf", "README.md", "conf/problems/demo.parquet"),
)
HOSTILE_NUMBERS = (
    *(math.inf, -math.inf, math.nan, 0, -0.0, -1, 1, 0.5, 1.5, 1e308, -1e308, 5e-324, 2**31 - 1, 2**31, 2**32, 2**53),
    *(2**62, 2**63 - 1, 2**63, 2**64, 10**400, -(2**63) - 1),
)
texts = st.one_of(st.sampled_from(HOSTILE_TEXTS), st.text(max_size=12), st.text("ab[]*?~ .-=,\x00\n\u2028", max_size=8))
numbers = st.one_of(st.sampled_from(HOSTILE_NUMBERS), st.integers(), st.floats())
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
plausible = st.one_of(st.integers(1, 64), st.floats(0.0, 1.0), st.booleans(), st.just("x"), st.none(), st.just([]))
names = st.one_of(
    st.sampled_from(HOSTILE_TEXTS), st.text(min_size=1, max_size=24), st.text("a[]*?~ .é'\"=,;", min_size=1, max_size=8)
)

_UTF8 = st.sampled_from([b"a", b"", b"\xff", b"a\xffb", b"\xc3\xa9", b"\xed\xa0\x80", b"\0", b"\xe2\x80\xa8", b"7"])


@st.composite
def _text_arrays(draw: st.DrawFn, rows: int) -> pa.Array:
    """Texts of every kind; some are not valid UTF-8."""
    raw = pa.array(draw(st.lists(st.one_of(st.none(), _UTF8, _UTF8), min_size=rows, max_size=rows)), pa.binary())
    if draw(st.booleans()):
        raw = pa.array(
            [None if v is None else v.decode(errors="ignore").encode() for v in raw.to_pylist()], pa.binary()
        )
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers(), raw.null_count)
    kind = draw(st.sampled_from(["string", "large_string", "string_view", "dictionary"]))
    try:
        if kind == "large_string":
            return raw.cast(pa.large_binary()).view(pa.large_string())
        if kind == "string_view":
            return text.cast(pa.string_view())
        return text.dictionary_encode() if kind == "dictionary" else text
    except (pa.ArrowException, NotImplementedError):
        return text


_FLAT = (
    *(pa.int8(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.null()),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("us", "UTC")),
    *(pa.timestamp("ns"), pa.timestamp("ns", "Europe/Berlin"), pa.timestamp("us", "Foo/Bar"), pa.duration("ns")),
    *(pa.binary(), pa.binary(3), pa.decimal128(38, 2), pa.decimal256(60, 2), pa.month_day_nano_interval()),
)


@st.composite
def _number_arrays(draw: st.DrawFn, rows: int) -> pa.Array:
    kind = draw(st.sampled_from(_FLAT))
    if pa.types.is_null(kind):
        return pa.nulls(rows)
    some = st.one_of(st.none(), st.integers(-3, 120), st.sampled_from([2**31, 2**62, -(2**62), 2**63 - 1]))
    raw = pa.array(draw(st.lists(some, min_size=rows, max_size=rows)), pa.int64())
    if pa.types.is_floating(kind):
        own = st.one_of(st.none(), st.floats(), st.integers(0, 40).map(float))
        return pa.array(draw(st.lists(own, min_size=rows, max_size=rows)), pa.float64()).cast(kind, safe=False)
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else b"\xff\0a" for v in raw.to_pylist()], kind)
    try:
        small = pa.types.is_date32(kind) or pa.types.is_time32(kind)
        return (raw.cast(pa.int32(), safe=False) if small else raw).cast(kind, safe=False)
    except (pa.ArrowException, ValueError):
        return raw


@st.composite
def arrays(draw: st.DrawFn, rows: int, depth: int = 2) -> pa.Array:
    """Columns of any type that Parquet can hold, and some that it cannot."""
    form = draw(
        st.sampled_from(["text", "text", "number", "number", "list", "struct", "map"] if depth else ["text", "number"])
    )
    if form == "text":
        return draw(_text_arrays(rows))
    if form == "number":
        return draw(_number_arrays(rows))
    if form == "struct":
        fields = draw(st.lists(st.sampled_from(["a", "A", "b", "", "\x1b"]), min_size=1, max_size=2))
        return pa.StructArray.from_arrays([draw(arrays(rows, depth - 1)) for _ in fields], fields)
    inner = draw(arrays(rows, depth - 1))
    offsets = pa.array(range(rows + 1), pa.int32())
    if form == "map":
        return pa.MapArray.from_arrays(offsets, pa.array([str(i) for i in range(rows)]), inner)
    return pa.ListArray.from_arrays(offsets, inner)


def _good(name: str, rows: int) -> pa.Array:
    if name in ("trace_index",):
        return pa.array(range(rows), pa.int32())
    if name in ("num_tokens", "probe_every"):
        return pa.array([3] * rows, pa.int64())
    if name == "token_ids":
        return pa.array([[1, 2, 3]] * rows, pa.list_(pa.int32()))
    if name == "confidence":
        return pa.array([[1.0, 2.0, 3.0]] * rows, pa.list_(pa.float32()))
    if name == "problem_id":
        return pa.array([f"p{i}" for i in range(rows)])
    return pa.array(["7"] * rows)


@st.composite
def tables(draw: st.DrawFn, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> bytes:
    """A Parquet file: the required columns, mostly good ones, and further ones of any type and name."""
    rows = draw(st.sampled_from([0, 1, 2, 2, 3, 3]))
    columns: list[tuple[str, pa.Array]] = []
    for name in (
        *required,
        *draw(st.lists(st.sampled_from(optional), max_size=3, unique=True) if optional else st.just([])),
    ):
        chance = draw(st.integers(0, 39))
        if chance == 39:
            continue
        columns.append((name, draw(arrays(rows)) if chance >= 35 else _good(name, rows)))
    further = st.one_of(
        names, st.sampled_from(["level", "Level", "run", "filename", "correct", "problem_index", "a.b"])
    )
    for name in draw(st.lists(further, max_size=2)):
        columns.append((name, draw(arrays(rows))))
    return parquet(columns)


def parquet(columns: list[tuple[str, pa.Array]]) -> bytes:
    """Return the file's bytes; columns that Parquet does not take are left out."""
    out = io.BytesIO()
    kept: list[tuple[str, pa.Array]] = []
    for name, array in columns:
        try:
            pq.write_table(pa.table([array], names=[name]), io.BytesIO())
            kept.append((name, array))
        except (pa.ArrowException, UnicodeEncodeError, ValueError, NotImplementedError):
            continue
    pq.write_table(pa.table([array for _, array in kept], names=[name for name, _ in kept]), out)
    return out.getvalue()


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """The bytes of a file after an accident."""
    kind = draw(st.sampled_from(["cut", "flip", "flip", "insert", "zero", "text", "empty"]))
    if kind == "empty":
        return b""
    if kind == "text":
        return draw(st.binary(max_size=64))
    place = draw(st.integers(0, len(whole) - 1))
    if kind == "cut":
        return whole[:place]
    some = draw(st.binary(min_size=1, max_size=8))
    if kind == "zero":
        some = b"\0" * 40
    return whole[:place] + some + whole[place + (0 if kind == "insert" else len(some)) :]
