"""Public names that import their module on first use, so that ``import cnntk`` is fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

__all__ = ["lazy_names"]


def lazy_names(
    package: str, public: Sequence[str], names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Returns ``__getattr__`` and ``__dir__`` (PEP 562) of a package with lazily imported names.

    ``public`` is its ``__all__``; ``names`` has those that each module defines.
    """
    modules = {name: module for module, defined in names.items() for name in defined}

    def __getattr__(name: str) -> object:  # noqa: N807
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return __getattr__, lambda: sorted(public)
