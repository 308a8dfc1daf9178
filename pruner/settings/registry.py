"""Finds what can be chosen: every class of a kind that a module of the kind's package defines. No list is kept by hand.

Knows nothing of what the classes do.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import Field

from pruner.settings.section import Choice

AnyChoice = TypeVar("AnyChoice", bound=Choice)


def choices(package: str, base: type[AnyChoice]) -> dict[str, type[AnyChoice]]:
    """Return the classes of a kind that the modules of a package define, by the name that a configuration gives them.

    Args:
        package: dotted name; its modules are imported in the order of their names.
        base: the kind; classes below it count if their `name` is a Literal.

    Raises:
        TypeError: two classes have one name.
    """
    found: dict[str, type[AnyChoice]] = {}
    for each in sorted(pkgutil.iter_modules(importlib.import_module(package).__path__), key=lambda each: each.name):
        module = importlib.import_module(f"{package}.{each.name}")
        for kind in vars(module).values():
            if not isinstance(kind, type) or not issubclass(kind, base) or kind.__module__ != module.__name__:
                continue
            for name in literal_names(kind):
                if name in found:
                    raise TypeError(f"{module.__name__}: the name {name} is taken by {found[name].__module__}")
                found[name] = kind
    return dict(sorted(found.items()))


def literal_names(kind: type[Choice]) -> tuple[str, ...]:
    """Return the names that a class may be chosen by; none if its `name` is any text, as a kind's base has it."""
    annotation = kind.model_fields["name"].annotation
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def one_of(found: dict[str, type[AnyChoice]]) -> Any:
    """Return the type of a field that holds one of these, distinguished by their names."""
    return Annotated[Union[tuple(found.values())], Field(discriminator="name")]  # noqa: UP007  # the types are not known here
