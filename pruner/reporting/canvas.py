"""The canvas of every figure: its colours, axes and legends, as SVG for the page and PNG beside it. Owns matplotlib.

Colours are roles. In the page's SVG they are its style sheet's variables, so that a figure follows light and dark; in the PNG
they are those of the light page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from wcwidth import wcwidth

LIGHT = {
    "ink": "#1c2330",
    "muted": "#667085",
    "grid": "#e3e6eb",
    "paper": "#ffffff",
    "finished": "#2f6fde",
    "pruned": "#b3bccb",
    "judge": "#e0a021",
    "speculative": "#c3b1e1",
    "lost": "#c8443c",
    "right": "#1f9d74",
    "wrong": "#d1495b",
    "a": "#2f6fde",
    "b": "#e0762f",
    "c": "#1f9d74",
    "d": "#8a5bd1",
    "e": "#b0893a",
    "f": "#4a9fb8",
}
# Stand-ins that matplotlib takes for colours; in the page they become var(--role).
_STANDINS = {role: f"#0a0b{number:02x}" for number, role in enumerate(LIGHT)}
SERIES = ("a", "b", "c", "d", "e", "f")
MARKS = ("o", "s", "^", "D", "v", "P")
# Fonts that have what DejaVu Sans lacks: Chinese, Japanese, Korean, signs and emoji. Those that a machine has are asked one after the other.
_FURTHER_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR", "Source Han Sans"),
    *("WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "NanumGothic", "UnDotum", "Baekmuk Gulim", "IPAGothic", "VL Gothic", "Droid Sans Fallback"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Arial Unicode MS"),
    *("Noto Emoji", "Symbola", "Segoe UI Emoji", "Noto Sans Symbols2", "Unifont"),
)  # fmt: skip
_WIDE, _HALF, _NARROW = 1100.0, 535.0, 380.0

Palette = dict[str, str]
Draw = Callable[[Any, Palette], None]


@dataclass(frozen=True)
class Figure:
    """One figure. svg is None where there is nothing to draw; then `empty` says why. narrow: the same for a phone's screen. note: what to
    know when reading it."""

    name: str
    title: str
    note: str
    svg: str | None = None
    narrow: str | None = None
    png: bytes | None = None
    empty: str = ""
    is_wide: bool = False


def render(
    name: str,
    title: str,
    note: str,
    draw: Draw,
    height: float,
    is_wide: bool = False,
    narrow_height: float | None = None,
) -> Figure:
    """Draw a figure for the page, for a page on a phone, and as PNG.

    Args:
        draw: called with a figure and its colours; it asks `is_narrow` how wide the figure is.
        height: in points.
        narrow_height: of the narrow form, for figures whose panels stand below each other there.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    width = _WIDE if is_wide else _HALF
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.size": 11,
        "axes.titlesize": 11,
        "legend.fontsize": 10,
    }
    pictures = []
    narrow_height = narrow_height or (1.25 * height if is_wide else height)
    forms = (
        (_STANDINS, "svg", width, height),
        (_STANDINS, "svg", _NARROW, narrow_height),
        (LIGHT, "png", width, height),
    )
    for palette, kind, width, height in forms:
        with matplotlib.rc_context(settings | {"font.family": fonts()}), warnings.catch_warnings():
            # A sign that no font has is a box in the PNG; in the page the browser draws the text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            canvas = Canvas(figsize=(width / 72, height / 72), layout="constrained")
            canvas.patch.set_alpha(0.0 if kind == "svg" else 1.0)
            draw(canvas, palette)
            out = io.BytesIO()
            canvas.savefig(out, format=kind, dpi=144, metadata={"Date": None} if kind == "svg" else None)
            pictures.append(out.getvalue())
    wide, narrow = (_for_page(each.decode(), f"{name}{i}") for i, each in enumerate(pictures[:2]))
    return Figure(name, title, note, wide, narrow, pictures[2], is_wide=is_wide)


@cache
def fonts() -> list[str]:
    """Return the fonts that text is drawn with; the first one that has a sign draws it."""
    from matplotlib.font_manager import fontManager

    there = {font.name for font in fontManager.ttflist}
    return ["DejaVu Sans", *(name for name in _FURTHER_FONTS if name in there)]


def is_narrow(figure: Any) -> bool:
    """Return whether a figure is drawn for a narrow screen: panels then stand below each other."""
    return bool(72 * figure.get_figwidth() < _HALF)


def panels(figure: Any, number: int, **options: Any) -> list[Any]:
    """Return axes side by side, or below each other on a narrow screen."""
    rows, columns = (number, 1) if is_narrow(figure) else (1, number)
    return list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def _for_page(svg: str, name: str) -> str:
    """Return an SVG for a page with others: the page's colours and letters, ids of its own, scaled to its place."""
    svg = svg[svg.index("<svg") :]
    for role, standin in _STANDINS.items():
        svg = svg.replace(standin, f"var(--{role})")
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{name}-', svg)
    return re.sub(
        r'<svg [^>]*?(viewBox="[^"]*")[^>]*>',
        r'<svg xmlns:xlink="http://www.w3.org/1999/xlink" \1 role="img">',
        svg,
        count=1,
    )


def style(axes: Any, palette: Palette, grid: str = "y") -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(palette["muted"])
    axes.set_facecolor("none")
    axes.tick_params(colors=palette["muted"], labelcolor=palette["ink"], length=3)
    axes.xaxis.label.set_color(palette["muted"])
    axes.yaxis.label.set_color(palette["muted"])
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=palette["grid"], linewidth=0.8)


def log_ticks(axes: Any) -> None:
    """Write plain numbers on an x axis with a log scale."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def legend(axes: Any, palette: Palette, **where: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        once = dict(zip(labels, handles, strict=True))
        axes.legend(once.values(), once.keys(), frameon=False, labelcolor=palette["ink"], **where)


def legend_above(axes: Any, palette: Palette, columns: int) -> None:
    """Write the legend above the axes, on a narrow screen in as many columns as its words leave room for."""
    if is_narrow(axes.figure):
        widest = max((len(label) for label in axes.get_legend_handles_labels()[1]), default=0)
        columns = min(columns, 1 if widest > 20 else 2)
    legend(axes, palette, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0, handlelength=1.2)


def unit_of(values: Sequence[float]) -> tuple[float, str]:
    most = max(values, default=0.0)
    if most >= 2e6:
        return 1e6, ", millions"
    return (1e3, ", thousands") if most >= 2e3 else (1.0, "")


def shortened(text: str, most: int) -> str:
    """Return a text with its middle left out if it is wider than `most` letters; Chinese or Korean ones are twice as wide."""
    if _width(text) > most:
        head, tail = text, text
        while _width(head) > most // 2:
            head = head[:-1]
        while _width(tail) > most // 2 - 1:
            tail = tail[1:]
        text = f"{head}…{tail}"
    return text.replace("$", r"\$")


def _width(text: str) -> int:
    return sum(max(0, wcwidth(sign)) for sign in text)


def lines(axes: Any, segments: Sequence[Any], colour: str, width: float, order: int, label: str | None = None) -> None:
    """Draw many lines at once. segments: ((x, y), (x, y)) each."""
    from matplotlib.collections import LineCollection

    axes.add_collection(LineCollection(segments, colors=colour, linewidths=width, zorder=order, label=label))
