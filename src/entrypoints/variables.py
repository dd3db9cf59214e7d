"""How a setting is declared: as an attribute of a group, with its kind, default and help.

    class Listening(Group, frozen=True):
        port: int = setting(whole(0, 65_535), "8080", "where to listen")

declares the variable `PORT`. The attribute has the type that its kind reads.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar, overload

import msgspec
from msgspec import NODEFAULT, Struct, structs

from entrypoints.value_kinds import Kind

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    """A declared variable: what is read from its text, and how it is documented.

    `default` is a text as well. `guards`: without it more senders are let in. `reloads`: SIGHUP
    puts a new value into force.
    """

    kind: Kind[T]
    default: str | None
    help: str
    is_secret: bool
    guards: bool
    reloads: bool

    @property
    def accepted(self) -> str:
        """The values it takes, in words."""
        return self.kind.accepted

    def __call__(self) -> T | None:
        """Return the value of a variable that is not set."""
        return None if self.default is None else self.kind.read(self.default)


class Discreet(Struct, frozen=True):
    """A struct that shows nothing of its values: some are secret."""

    def __repr__(self) -> str:
        """Return the name of the class."""
        return f"{type(self).__name__}(...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        """Return nothing for a terminal either."""
        return []


class Group(Discreet, frozen=True, kw_only=True, rename="upper"):
    """Settings that belong together; the title of a group is the first line of its docstring."""


@overload
def setting(
    kind: Kind[T],
    default: str,
    help: str,
    *,
    is_secret: bool = False,
    guards: bool = False,
    reloads: bool = False,
) -> T: ...


@overload
def setting(
    kind: Kind[T],
    default: None,
    help: str,
    *,
    is_secret: bool = False,
    guards: bool = False,
    reloads: bool = False,
) -> T | None: ...


def setting(
    kind: Kind[T],
    default: str | None,
    help: str,  # noqa: A002  # the word of command lines
    *,
    is_secret: bool = False,
    guards: bool = False,
    reloads: bool = False,
) -> T | None:
    """Declare a variable. `help` is one line of Markdown; see `Variable` for the rest."""
    make: Callable[[], T | None] = Variable(kind, default, help, is_secret, guards, reloads)
    return msgspec.field(default_factory=make)


def declared(group: type[Group]) -> Iterator[tuple[str, str, Variable[object]]]:
    """Yield the name, the attribute and the declaration of each variable of a group, in order."""
    for field in structs.fields(group):
        declaration = field.default_factory
        if declaration is NODEFAULT or not isinstance(declaration, Variable):
            raise TypeError(f"{group.__name__}.{field.name} is not declared by setting()")
        yield field.encode_name, field.name, declaration
