"""Names to things: a registry fills itself from the modules of one package.

A newcomer adds a margin, backbone or protocol by adding one file; nothing else is edited. The package is imported
at the first look-up, never at ``import hyperarc``. So are the modules that other installed packages name as entry
points of a group called like the package, such as ``hyperarc.margins``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Generic, TypeVar

from hyperarc.errors import HyperArcError, unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Named things of one kind, declared with :meth:`register` in the modules of ``package``.

    Args:
        kind: singular noun for error messages, such as ``"margin"``.
        package: dotted name of the package whose modules declare the things, and of the group of entry points.

    Example:
        >>> shapes = Registry[type]("shape")
        >>> @shapes.register("circle")
        ... class Circle: ...
        >>> shapes.names()
        ['circle']
    """

    def __init__(self, kind: str, package: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._things: dict[str, T] = {}
        self._entries_loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Declare the decorated thing under ``name``; declaring a name twice is an error.

        A thing of the same module and name takes its older self's place: a notebook's cell may be run again.
        """

        def declare(thing: T) -> T:
            if name in self._things and _home(self._things[name]) != _home(thing):
                raise ValueError(f"{self.kind} {name!r} is declared twice")
            self._things[name] = thing
            return thing

        return declare

    def names(self) -> list[str]:
        """All known names, sorted."""
        self._fill()
        return sorted(self._things)

    def get(self, name: str) -> T:
        """The thing called ``name``; :class:`UnknownNameError` names the nearest known ones."""
        self._fill()
        if name not in self._things:
            raise unknown_name(self.kind, name, self._things)
        return self._things[name]

    def argument_names(self, name: str, base: Callable[..., object]) -> list[str]:
        """Arguments that ``name`` takes, those that it hands on to ``base`` as ``**rest`` included."""
        own = [key for key in inspect.signature(self.get(name)).parameters if key != "rest"]  # type: ignore[arg-type]
        return own + [key for key in inspect.signature(base).parameters if key not in own]

    def check_arguments(self, name: str, base: Callable[..., object], given: Iterable[str]) -> None:
        """Raise :class:`UnknownNameError` naming the nearest known arguments unless all of ``given`` are known."""
        known = self.argument_names(name, base)
        for argument in given:
            if argument not in known:
                raise unknown_name(f"argument of {self.kind} {name!r}:", argument, known)

    def _fill(self) -> None:
        if self._package is None:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        if not self._entries_loaded:
            for entry in metadata.entry_points(group=self._package):
                _load(entry, self._package)
            self._entries_loaded = True


def _load(entry: metadata.EntryPoint, group: str) -> None:
    try:
        entry.load()
    except Exception as error:
        raise HyperArcError(
            f"cannot be imported: {type(error).__name__}: {error}",
            where=f"entry point {entry.name} = {entry.value} of {group}",
            mend="mend or uninstall the package that declares it",
        ) from error


def _home(thing: object) -> tuple[object, object]:
    return getattr(thing, "__module__", thing), getattr(thing, "__qualname__", thing)
