r"""An answer's text as tokens: LaTeX, plain notation and Unicode signs alike. Pure; knows no mathematics.

Numbers come out whole (`11,\!111`, `1{,}234`, `1.5e3`, `0.\overline{3}`), commands by name, style and spacing not at all.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

MAX_TOKENS = 400
_MAX_DIGITS = 1000
_MAX_EXPONENT = 1000


class Unreadable(ValueError):
    """The text is no mathematics that can be read; it then stands for itself."""


@dataclass(frozen=True, slots=True)
class Token:
    """kind: number, letter, text letter, word, text, command or sign. value: of a number. is_spaced: white space comes before it."""

    kind: str
    text: str
    is_spaced: bool = False
    value: Fraction | None = None

    def is_sign(self, *signs: str) -> bool:
        return self.kind in ("sign", "command") and self.text in signs


_SIGNS = {
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "π": r"\pi ", "∞": r"\infty ",
    "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "°": r"^\circ ",
    "±": r"\pm ", "∓": r"\mp ", "√": r"\sqrt ", "∅": r"\emptyset ", "ø": r"\emptyset ", "′": "'", "’": "'", "∣": "|", "⌊": r"\lfloor ",
    "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "（": "(", "）": ")", "，": ",", "％": "%",
    "€": "", "£": "", "¥": "", "\u00a0": " ", "\u2009": " ", "\u202f": " ", "∖": r"\setminus ", "→": r"\to ", "⟨": r"\langle ", "⟩": r"\rangle ",
}  # fmt: skip
_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n", strict=True))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋", "0123456789+-", strict=True))
_GREEK = {
    chr(code): unicodedata.name(chr(code)).split()[-1].lower()
    for code in range(0x3B1, 0x3CA)
    if code not in (0x3C0, 0x3C2)
}
# Commands that change how something looks, and take nothing with them.
_STYLE = frozenset(
    [
        "left",
        "right",
        "big",
        "Big",
        "bigg",
        "Bigg",
        "bigl",
        "bigr",
        "Bigl",
        "Bigr",
        "biggl",
        "biggr",
        "Biggl",
        "Biggr",
        "displaystyle",
        "textstyle",
        "scriptstyle",
        "limits",
        "mathstrut",
        "mathbf",
        "mathit",
        "mathsf",
        "mathcal",
        "boldsymbol",
        "bm",
        "bold",
        "pmb",
        "rm",
        "bf",
        "it",
        "ensuremath",
        "vec",
        "overrightarrow",
        "hat",
        "underline",
        "boxed",
        "fbox",
        "nonumber",
        "hfill",
        "textsuperscript",
    ]
)
_SPACES = frozenset(["quad", "qquad", "thinspace", "medspace", "thickspace", "enspace", "space"])
_TEXT = frozenset(
    [
        "text",
        "textbf",
        "textit",
        "textrm",
        "textsf",
        "texttt",
        "textnormal",
        "mbox",
        "hbox",
        "mathrm",
        "operatorname",
        "emph",
        "textsc",
    ]
)
_SAME = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "leq": "le", "leqslant": "le", "geq": "ge",
    "geqslant": "ge", "neq": "ne", "lt": "<", "gt": ">", "ast": "cdot", "times": "cdot", "lbrace": "{", "rbrace": "}", "lbrack": "[",
    "rbrack": "]", "lparen": "(", "rparen": ")", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "colon": ":", "varnothing": "emptyset",
    "backslash": "setminus", "simeq": "approx", "cong": "approx", "degree": "circ", "land": ",", "lor": "or", "vee": "or", "wedge": ",",
    "arcsin": "asin", "arccos": "acos", "arctan": "atan", "div": "/", "varphi": "phi", "varepsilon": "epsilon", "dots": "ldots", "cdots": "ldots",
    "lg": "log", "iff": "Leftrightarrow",
}  # fmt: skip
SMOOTH = ("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh", "coth")
_FUNCTION_WORDS = frozenset(
    (
        *SMOOTH,
        "arcsin",
        "arccos",
        "arctan",
        "log",
        "ln",
        "lg",
        "exp",
        "sqrt",
        "pi",
        "gcd",
        "lcm",
        "max",
        "min",
        "binom",
        "infinity",
    )
)
_TOKEN = re.compile(
    r"""(?P<space>(?:\s|~|\\[,;:!>\ ]|\\\s)+)
    |(?P<repeating>(?P<before>\d{0,60}\.\d{0,60})\\(?:overline|bar|dot)\s*\{?(?P<period>\d{1,60})\}?)
    |(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,5}(?![\d.A-Za-z]))?)
    |\\(?P<command>[A-Za-z]+)
    |\\(?P<escaped>[^A-Za-z\s])
    |(?P<word>[A-Za-z]+)
    |(?P<sign>\S)""",
    re.VERBOSE | re.DOTALL,
)
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,\\!\s*|\\!,|\{\\,\})(?=\d{3}(?!\d))")
_THIN_THOUSANDS = re.compile(r"(?<![\d.])\d{1,3}(?:\\,\d{3})+(?!\d)")
_GROUPED = re.compile(r"[{]([^{}]{0,200})[}]")


def plain_signs(text: str) -> str:
    """Return the text with LaTeX's own signs for what Unicode, `**` and currency write in other ways."""
    out: list[str] = []
    raised = lowered = False
    for char in text:
        if raised and char not in _SUPERSCRIPTS:
            out.append("}")
            raised = False
        if lowered and char not in _SUBSCRIPTS:
            out.append("}")
            lowered = False
        if char in _SUPERSCRIPTS:
            out.append(_SUPERSCRIPTS[char] if raised else "^{" + _SUPERSCRIPTS[char])
            raised = True
        elif char in _SUBSCRIPTS:
            out.append(_SUBSCRIPTS[char] if lowered else "_{" + _SUBSCRIPTS[char])
            lowered = True
        elif char in _SIGNS:
            out.append(_SIGNS[char])
        elif char in _GREEK:
            out.append(f"\\{_GREEK[char]} ")
        elif unicodedata.category(char) == "No" and "⁄" in (parts := unicodedata.normalize("NFKC", char)):
            top, bottom = parts.split("⁄")
            out.append(f"\\frac{{{top}}}{{{bottom}}}")
        elif ord(char) > 0xFF00:
            out.append(unicodedata.normalize("NFKC", char))
        else:
            out.append(char)
    if raised or lowered:
        out.append("}")
    plain = "".join(out).replace("**", "^").replace("\\$", "").replace("$", "")
    for old, new in (
        ("<=", r"\le "),
        (">=", r"\ge "),
        ("!=", r"\ne "),
        ("\\%", "%"),
        ("\\(", ""),
        ("\\)", ""),
        ("\\[", ""),
        ("\\]", ""),
    ):
        plain = plain.replace(old, new)
    plain = _THOUSANDS.sub("", plain)
    return _THIN_THOUSANDS.sub(lambda match: match.group().replace("\\,", ""), plain)


def tokenize(text: str) -> tuple[Token, ...]:
    """Return the tokens of a text that went through `plain_signs`.

    Raises:
        Unreadable: there are too many, or a number has too many digits.
    """
    tokens: list[Token] = []
    position, is_spaced = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None
        position = match.end()
        if match["space"]:
            is_spaced = True
            continue
        if match["command"] and (match["command"] in _STYLE or match["command"] in _SPACES):
            is_spaced = is_spaced or match["command"] in _SPACES
            if match["command"] in ("left", "right") and text[position : position + 1] == ".":
                position += 1
            continue
        if match["command"] in _TEXT and (group := _GROUPED.match(text, position + _spaces(text, position))):
            position = group.end()
            tokens += _text_tokens(match["command"], group[1], is_spaced)
        else:
            tokens += _tokens(match, is_spaced)
        is_spaced = False
        if len(tokens) > MAX_TOKENS:
            raise Unreadable("too long")
    return _joined_thousands(tokens)


def _spaces(text: str, position: int) -> int:
    count = 0
    while text[position + count : position + count + 1].isspace():
        count += 1
    return count


def _text_tokens(command: str, content: str, is_spaced: bool) -> list[Token]:
    r"""Return what `\text{...}` holds: a letter, a function's name, a number, or words."""
    inner = content.replace("~", " ").replace("\\ ", " ").replace("\\%", "%").strip()
    bare = inner.strip("().").strip()
    if len(bare) == 1 and bare.isascii() and bare.isalpha():
        # After a number it may be a unit (`5\text{ m}`), which a letter without `\text` never is.
        return [Token("text letter", bare, is_spaced)]
    if bare in _FUNCTION_WORDS:
        return [Token("command", _SAME.get(bare, bare), is_spaced)]
    if re.fullmatch(r"[-+]?[\d.,/]+%?|\(?[A-Za-z]\)?(?:(?:\s*,\s*|,?\s+(?:and|or)\s+)\(?[A-Za-z]\)?)+", inner) or (
        command in ("mathrm", "operatorname") and re.fullmatch(r"[A-Z]{2,}", inner)
    ):
        first, *rest = tokenize(inner)
        return [Token(first.kind, first.text, is_spaced, first.value), *rest]
    return [Token("text", inner, is_spaced)] if inner else []


def _tokens(match: re.Match[str], is_spaced: bool) -> list[Token]:
    if match["repeating"]:
        return [Token("number", match["repeating"], is_spaced, _repeating(match["before"], match["period"]))]
    if number := match["number"]:
        return [Token("number", number, is_spaced, decimal(number))]
    if (command := match["command"]) in ("R", "Z", "N", "Q"):
        return list(tokenize(f"\\mathbb{{{command}}}"))
    if command:
        same = _SAME.get(command, command)
        return [Token("command" if same[0].isalpha() else "sign", same, is_spaced)]
    if escaped := match["escaped"]:
        return [Token("sign", {"{": "\\{", "}": "\\}", "\\": "\\\\", "|": "|"}.get(escaped, escaped), is_spaced)]
    if word := match["word"]:
        return _word_tokens(word, is_spaced)
    return [Token("sign", match["sign"], is_spaced)]


def _word_tokens(word: str, is_spaced: bool) -> list[Token]:
    if len(word) == 1:
        return [Token("letter", word, is_spaced)]
    if word in _FUNCTION_WORDS:
        return [Token("command", {"infinity": "infty"}.get(word, _SAME.get(word, word)), is_spaced)]
    return [Token("word", word, is_spaced)]


def decimal(number: str) -> Fraction:
    """Return the exact value of a decimal number, with or without an exponent of ten.

    Raises:
        Unreadable: it has too many digits.
    """
    mantissa, _, exponent = number.lower().partition("e")
    if len(mantissa) > _MAX_DIGITS or abs(int(exponent or 0)) > _MAX_EXPONENT:
        raise Unreadable("number too long")
    whole, _, part = mantissa.partition(".")
    return Fraction(int((whole + part) or "0"), 10 ** len(part)) * Fraction(10) ** int(exponent or 0)


def _repeating(before: str, period: str) -> Fraction:
    whole, _, part = before.partition(".")
    scale = 10 ** len(part)
    return Fraction(int((whole + part) or "0"), scale) + Fraction(int(period), scale * (10 ** len(period) - 1))


def _joined_thousands(tokens: list[Token]) -> tuple[Token, ...]:
    """Join `1,234,567`; not in brackets, where commas part, nor `32, 349` or `1,2,345`."""
    out: list[Token] = []
    depth = place = 0
    while place < len(tokens):
        token = tokens[place]
        depth += token.is_sign("(", "[", "\\{", "langle") - token.is_sign(")", "]", "\\}", "rangle")
        end = place + 1
        if depth <= 0 and token.kind == "number" and (end == 1 or not tokens[place - 1].is_sign(",")):
            while end + 1 < len(tokens) and _continues(tokens[end], tokens[end + 1]):
                end += 2
            numbers = [each.text for each in tokens[place:end:2]]
            if len(numbers) > 1 and _is_grouped(numbers):
                digits = "".join(numbers)
                out.append(Token("number", digits, token.is_spaced, decimal(digits)))
            else:
                out += tokens[place:end]
        else:
            out.append(token)
        place = end
    return tuple(out)


def _continues(comma: Token, number: Token) -> bool:
    return comma.is_sign(",") and not comma.is_spaced and number.kind == "number" and not number.is_spaced


def _is_grouped(numbers: list[str]) -> bool:
    first, *middle = numbers
    *middle, last = middle
    return (
        re.fullmatch(r"[1-9]\d{0,2}", first) is not None
        and all(re.fullmatch(r"\d{3}", each) for each in middle)
        and re.fullmatch(r"\d{3}(\.\d+)?", last) is not None
    )
