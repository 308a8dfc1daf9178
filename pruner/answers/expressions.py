"""Tokens to expression trees, by precedence. Pure; what a tree is worth is values.py's matter.

The work is bounded by the number of tokens and the depth of nesting, never by time, so a text reads the same everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pruner.answers.latex import SMOOTH, Token, Unreadable

_MAX_DEPTH = 40
_FUNCTIONS = frozenset(
    (*SMOOTH, "log", "ln", "exp", "arg", "det", "Re", "Im", "gcd", "lcm", "max", "min", "deg", "dim", "ker")
)
_LISTED = frozenset(("gcd", "lcm", "max", "min"))
_TRIGONOMETRIC = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])
_INVERSE = {"sin": "asin", "cos": "acos", "tan": "atan", "sinh": "asinh", "cosh": "acosh", "tanh": "atanh"}
_CONSTANTS = {"pi": "pi", "infty": "oo"}
_SYMBOLS = frozenset(
    [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "omicron",
        "rho",
        "sigma",
        "tau",
        "upsilon",
        "phi",
        "chi",
        "psi",
        "omega",
        "Gamma",
        "Delta",
        "Theta",
        "Lambda",
        "Xi",
        "Pi",
        "Sigma",
        "Upsilon",
        "Phi",
        "Psi",
        "Omega",
        "ell",
        "hbar",
    ]
)


@dataclass(frozen=True, slots=True)
class Node:
    """kind: number, symbol, constant, add, multiply, divide, power, negate, plus_minus, degrees, or a function's name."""

    kind: str
    parts: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction | None = None


def symbols(node: Node) -> frozenset[str]:
    """Return the names of the variables in a tree."""
    if node.kind == "symbol":
        return frozenset((node.name,))
    return frozenset().union(*map(symbols, node.parts)) if node.parts else frozenset()


def has_sign(node: Node) -> bool:
    """Return whether the tree has a plus-minus."""
    return node.kind == "plus_minus" or any(map(has_sign, node.parts))


def signed(node: Node, sign: int) -> Node:
    """Return the tree with every plus-minus read as plus (1) or minus (-1)."""
    parts = tuple(signed(part, sign) for part in node.parts)
    if node.kind != "plus_minus":
        return Node(node.kind, parts, node.name, node.value)
    is_plus = (sign > 0) == (node.name == "pm")
    return parts[0] if is_plus else Node("negate", parts)


def parse(tokens: Sequence[Token]) -> Node:
    """Return the tree of one expression.

    Raises:
        Unreadable: the tokens are none.
    """
    parser = _Parser(tokens)
    node = parser.fraction()
    if parser.peek() is not None:
        raise Unreadable(f"unexpected {parser.tokens[parser.place].text}")
    return node


def number(value: int | Fraction) -> Node:
    return Node("number", value=Fraction(value))


class _Parser:
    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.place = 0
        self._depth = 0
        self._bars = 0

    def peek(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def at(self, *signs: str) -> bool:
        token = self.peek()
        return token is not None and token.is_sign(*signs)

    def take(self) -> Token:
        token = self.peek()
        if token is None:
            raise Unreadable("unexpected end")
        self.place += 1
        return token

    def expect(self, sign: str) -> None:
        if not self.take().is_sign(sign):
            raise Unreadable(f"expected {sign}")

    def sum(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unreadable("nested too deep")
        terms = [self._signed_term()]
        while self.at("+", "-", "pm", "mp"):
            terms.append(self._signed_term())
        self._depth -= 1
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def _signed_term(self) -> Node:
        wraps: list[tuple[str, str]] = []
        while self.at("+", "-", "pm", "mp"):
            sign = self.take().text
            if sign != "+":
                wraps.append(("negate", "") if sign == "-" else ("plus_minus", sign))
        node = self._term()
        for kind, name in reversed(wraps):
            node = Node(kind, (node,), name)
        return node

    def _term(self) -> Node:
        node = self._factor()
        while True:
            if self.at("cdot", "*"):
                self.take()
                node = Node("multiply", (node, self._operand()))
            elif self.at("/"):
                self.take()
                node = Node("divide", (node, self._operand()))
            elif self._begins_factor():
                node = Node("multiply", (node, self._factor()))
            else:
                return node

    def _operand(self) -> Node:
        if self.at("-", "+"):
            is_minus = self.take().text == "-"
            return Node("negate", (self._factor(),)) if is_minus else self._factor()
        return self._factor()

    def _begins_factor(self) -> bool:
        token = self.peek()
        if token is None or token.kind == "text":
            return False
        if token.kind in ("letter", "text letter", "word"):
            return True
        if token.kind == "number":
            # `2 3` is no product.
            return self.place > 0 and self.tokens[self.place - 1].kind != "number"
        if token.kind == "command":
            return token.text in _FUNCTIONS | _SYMBOLS | _CONSTANTS.keys() or token.text in (
                *("frac", "sqrt", "binom", "lfloor", "lceil", "mathbb"),
            )
        return token.text in ("(", "[", "{") or (token.text == "|" and not self._bars)

    def _factor(self) -> Node:
        start = self.place
        node = self._base()
        while True:
            if self.at("^"):
                node = self._raised(node)
            elif self.at("!"):
                self.take()
                node = Node("factorial", (node,))
            elif self.at("_") and node.kind == "symbol" and self.place == start + 1:
                self.take()
                node = Node("symbol", name=f"{node.name}_{self._flat_group()}")
            elif self.at("'") and node.kind == "symbol":
                self.take()
                node = Node("symbol", name=f"{node.name}'")
            elif self.at("(") and node.kind == "symbol" and node.name.rstrip("'") in "fgh":
                node = Node("call", (self._bracketed(),), node.name)
            else:
                return node

    def _raised(self, node: Node) -> Node:
        self.take()
        if self.at("circ"):
            self.take()
            return Node("degrees", (node,))
        if self.at("{") and self.place + 2 < len(self.tokens) and self.tokens[self.place + 1].is_sign("circ"):
            self.place += 2
            self.expect("}")
            return Node("degrees", (node,))
        return Node("power", (node, self._argument(is_power=True)))

    def _argument(self, is_power: bool = False) -> Node:
        r"""Return what a command or `^` applies to: a group, or one token; of a number without braces one digit, as in TeX,
        but for a power in plain notation."""
        if self.at("{"):
            return self._group()
        token = self.peek()
        if token is not None and token.kind == "number" and not is_power and token.text.isdigit():
            return self._digit(token)
        if is_power and self.at("-", "+"):
            return self._operand()
        return self._base()

    def _digit(self, token: Token) -> Node:
        digit, rest = token.text[0], token.text[1:]
        if rest:
            left = Token("number", rest, False, Fraction(int(rest)))
            self.tokens = (*self.tokens[: self.place], left, *self.tokens[self.place + 1 :])
        else:
            self.place += 1
        return number(int(digit))

    def _group(self) -> Node:
        self.expect("{")
        node = self.fraction()
        self.expect("}")
        return node

    def fraction(self) -> Node:
        r"""Return a sum, or two with `\over` or `\choose` between."""
        node = self.sum()
        if self.at("over", "choose"):
            kind = "divide" if self.take().text == "over" else "binom"
            node = Node(kind, (node, self.sum()))
        return node

    def _bracketed(self) -> Node:
        closing = {"(": ")", "[": "]"}[self.take().text]
        bars, self._bars = self._bars, 0
        node = self.sum()
        self._bars = bars
        self.expect(closing)
        return node

    def _flat_group(self) -> str:
        """Return a subscript's text."""
        if not self.at("{"):
            return self.take().text
        self.take()
        texts: list[str] = []
        while not self.at("}"):
            token = self.take()
            if token.is_sign("{", "_", "^"):
                raise Unreadable("nested subscript")
            texts.append(token.text)
        self.take()
        return ",".join(texts) if len(texts) != 1 else texts[0]

    def _base(self) -> Node:
        token = self.take()
        if token.kind == "number":
            assert token.value is not None
            return self._mixed(token.value) if token.text.isdigit() else Node("number", value=token.value)
        if token.kind in ("letter", "text letter"):
            return Node("constant", name=token.text) if token.text in ("e", "i") else Node("symbol", name=token.text)
        if token.kind == "word":
            return self._word(token.text)
        if token.kind == "command":
            return self._command(token.text)
        if token.text in ("(", "[", "{"):
            self.place -= 1
            return self._group() if token.text == "{" else self._bracketed()
        if token.text == "|":
            self._bars += 1
            node = self.sum()
            self.expect("|")
            self._bars -= 1
            return Node("abs", (node,))
        raise Unreadable(f"unexpected {token.text}")

    def _mixed(self, whole: Fraction) -> Node:
        r"""Return `1\frac{1}{2}` and `1 1/2` as one number, where the fraction is proper."""
        fraction = self._plain_fraction()
        return number(whole + fraction) if fraction is not None else number(whole)

    def _plain_fraction(self) -> Fraction | None:
        rest = self.tokens[self.place : self.place + 7]
        texts = [token.text for token in rest]
        numbers = [token.value for token in rest if token.kind == "number" and token.text.isdigit()]
        if texts[:1] == ["frac"]:
            short = re.fullmatch(r"([1-9])([1-9])", texts[1]) if len(texts) > 1 else None
            if short and int(short[1]) < int(short[2]):
                self.place += 2
                return Fraction(int(short[1]), int(short[2]))
            if len(texts) == 7 and texts[1] == texts[4] == "{" and texts[3] == texts[6] == "}" and len(numbers) == 2:
                return self._proper(numbers, 7)
        if len(rest) >= 3 and texts[1] == "/" and rest[0].is_spaced and [t.kind for t in rest[:3:2]] == ["number"] * 2:
            return self._proper([token.value for token in rest[:3:2]], 3)
        return None

    def _proper(self, numbers: Sequence[Fraction | None], width: int) -> Fraction | None:
        top, bottom = numbers[0], numbers[1]
        if top is None or bottom is None or not 0 < top < bottom or top.denominator != 1 or bottom.denominator != 1:
            return None
        self.place += width
        return top / bottom

    def _word(self, word: str) -> Node:
        if word.isupper():
            return Node("symbol", name=word)
        if word in ("am", "pm") or len(word) > 4 or (len(word) > 2 and word.istitle()):
            raise Unreadable("a word")
        letters = [Node("constant", name=letter) if letter in "ei" else Node("symbol", name=letter) for letter in word]
        # A power belongs to the last letter, so that one is left to be a factor of its own.
        last = Token("letter", word[-1])
        self.tokens = (*self.tokens[: self.place], last, *self.tokens[self.place :])
        node = letters[0]
        for letter in letters[1:-1]:
            node = Node("multiply", (node, letter))
        return node

    def _command(self, name: str) -> Node:
        if name == "frac":
            return Node("divide", (self._argument(), self._argument()))
        if name == "binom":
            return Node("binom", (self._argument(), self._argument()))
        if name == "sqrt":
            return self._root()
        if name in ("lfloor", "lceil"):
            node = self.sum()
            self.expect("rfloor" if name == "lfloor" else "rceil")
            return Node("floor" if name == "lfloor" else "ceil", (node,))
        if name in _CONSTANTS:
            return Node("constant", name=_CONSTANTS[name])
        if name in _SYMBOLS:
            return Node("symbol", name=f"\\{name}")
        if name == "mathbb":
            return Node("symbol", name=f"mathbb {self._flat_group()}")
        if name in _FUNCTIONS:
            return self._function(name)
        raise Unreadable(f"unknown \\{name}")

    def _root(self) -> Node:
        degree = number(2)
        if self.at("["):
            degree = self._bracketed()
        radicand = self._bracketed() if self.at("(") else self._argument(is_power=True)
        return Node("root", (radicand, degree))

    def _function(self, name: str) -> Node:
        exponent: Node | None = None
        base: tuple[Node, ...] = ()
        if self.at("_") and name == "log":
            self.take()
            base = (self._argument(is_power=True),)
        if self.at("^"):
            self.take()
            exponent = self._argument(is_power=True)
        is_inverse = exponent == Node("negate", (number(1),))
        if is_inverse and name in _INVERSE:
            name, exponent = _INVERSE[name], None
        node = Node(name, (*self._arguments(name), *base))
        return node if exponent is None else Node("power", (node, exponent))

    def _arguments(self, name: str) -> tuple[Node, ...]:
        if name in _LISTED and self.at("("):
            self.take()
            found = [self.sum()]
            while self.at(","):
                self.take()
                found.append(self.sum())
            self.expect(")")
            return tuple(found)
        if self.at("("):
            return (self._bracketed(),)
        node = self._factor()
        while self._begins_factor() and not self.at(*_FUNCTIONS, "(", "["):
            node = Node("multiply", (node, self._factor()))
        if self.at("/") and node.kind == "constant":
            # `\sin \pi/3` means the sine of a third.
            self.take()
            node = Node("divide", (node, self._factor()))
        return (node,)


def in_degrees(name: str) -> bool:
    """Say whether degrees in a function's argument are an angle."""
    return name in _TRIGONOMETRIC
