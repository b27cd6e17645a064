"""Builds a network from ``package.module:NAME`` or ``path/to/file.py:NAME``: function, class or instance."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import importlib.util
import inspect
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType, MethodWrapperType, ModuleType
from typing import TYPE_CHECKING, Any

from cnntk.models.user_errors import describe_error
from cnntk.runtime.errors import CnntkError, MissingDependency, UsageError
from cnntk.runtime.files import readable_file

if TYPE_CHECKING:
    from torch import nn

__all__ = ["absolute", "construct", "file_of", "fresh_import", "locate"]

_SHARED = ("cnntk", "torch", "torchvision", "timm", "transformers")
"""Packages that can't be imported twice in a process, or whose classes others compare with."""


def construct(reference: str, kwargs: dict[str, Any]) -> nn.Module:
    """Calls the factory that ``reference`` names, or copies the module; this runs the user's code.

    Raises:
        UsageError: There is no such factory or module, it raises anything, does not return an nn.Module, or
            takes no arguments, as a module.
        MissingDependency: torch is not installed.
    """
    factory = locate(reference)
    from torch import nn  # only now, so that errors in the reference are reported without torch

    if isinstance(factory, nn.Module):
        if kwargs:
            raise UsageError(
                f"{reference}: is a module already, so it takes no arguments such as {next(iter(kwargs))!r}; "
                "name the function or class that builds it"
            )
        return copy.deepcopy(factory)
    try:
        network = factory(**kwargs)
    except CnntkError:
        raise  # the message is already for users
    except (TypeError, ValueError) as error:
        lacks = isinstance(error, TypeError) and "missing" in str(error)
        hint = "; name a function of yours that calls it with them" if lacks else ""
        raise UsageError(
            f"{reference}: {describe_error(error)}; its arguments are {_arguments(factory)}{hint}"
        ) from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(f"{reference}: {describe_error(error)}") from error
    return _with_forward(network, reference)


def _with_forward(built: Any, reference: str) -> nn.Module:
    """Returns what a factory built, if it can be run, else the only network inside it, with a warning.

    Classes of "Dive into Deep Learning" hold their network as the attribute ``net``, and inherit the rest.
    """
    from torch import nn

    is_module, kind = isinstance(built, nn.Module), type(built).__name__
    if is_module and type(built).forward is not nn.Module.forward:
        return built  # type: ignore[no-any-return]
    parts = dict(built.named_children()) if is_module else getattr(built, "__dict__", {})
    networks = {name: part for name, part in parts.items() if isinstance(part, nn.Module)}
    if len(networks) == 1:
        lack = "has no forward" if is_module else "is no torch.nn.Module"
        name, network = networks.popitem()
        message = f"{reference}: {kind} {lack}, so its only network is taken, the attribute {name!r}"
        warnings.warn(message, stacklevel=2)
        return network
    if is_module:
        raise UsageError(f"{reference}: {kind} has no forward, so it can't be run; add one to the class")
    raise UsageError(f"{reference}: returned {kind}, expected a torch.nn.Module")


@contextlib.contextmanager
def fresh_import(reference: str) -> Iterator[None]:
    """Within the block, the package that ``reference`` names is imported anew; files always are.

    Afterwards, the modules from before are in `sys.modules` again.
    """
    package = reference.partition(":")[0].partition(".")[0]
    old = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] == package and file_of(reference) is None and package not in _SHARED
    }
    for name in old:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if old and name.partition(".")[0] == package]:
            del sys.modules[name]
        sys.modules.update(old)


def locate(reference: str) -> Callable[..., Any]:
    """Returns the function, class or module (an instance of nn.Module) that ``reference`` names.

    Raises:
        UsageError: The reference has another form, its module, file or attribute does not exist, or it is one
            of Python's own.
        MissingDependency: Its module needs torch, which is not installed.
    """
    origin, _, attribute = reference.rpartition(":")  # from the right: C:\nets.py:small has two colons
    if not origin or not _is_dotted(attribute):
        raise UsageError(f"{reference!r}: expected package.module:function or path/to/file.py:function")
    if origin.partition(".")[0] in sys.stdlib_module_names and not origin.endswith(".py"):
        raise _standard_library(reference)
    module = _load(origin)
    try:
        factory = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise UsageError(f"{reference}: {origin} has no {attribute!r}") from error
    except (Exception, SystemExit) as error:  # a module's __getattr__ is the user's code, too
        raise UsageError(f"{reference}: {describe_error(error)}") from error
    if not callable(factory):
        raise UsageError(
            f"{reference}: is {type(factory).__name__}, expected a function, a class or an nn.Module"
        )
    if _is_standard(factory):
        raise _standard_library(reference)
    return factory  # type: ignore[no-any-return]


def _is_standard(factory: Any) -> bool:
    """Whether it is a built-in or of the standard library, under whatever name."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    if not isinstance(factory, type | FunctionType | MethodType | BuiltinFunctionType | MethodWrapperType):
        factory = getattr(factory, "__wrapped__", type(factory))  # an object that is called, or lru_cache
    home = getattr(factory, "__module__", None) or "builtins"  # methods of built-in types have none
    return home.partition(".")[0] in sys.stdlib_module_names


def _standard_library(reference: str) -> UsageError:
    return UsageError(
        f"{reference}: is of Python's built-ins or standard library, which is never run as a factory; "
        "name a function of yours that builds the network"
    )


def file_of(reference: str) -> str | None:
    """Returns the file of ``path/to/file.py:function``; None for any other reference."""
    origin = reference.rpartition(":")[0]
    return origin if origin.endswith(".py") else None


def absolute(reference: str) -> str:
    """Returns ``reference`` with the absolute path of its file, if it has one: valid in every folder."""
    file = file_of(reference)
    return reference if file is None else os.path.abspath(file) + reference.removeprefix(file)


def _load(origin: str) -> ModuleType:
    try:
        if origin.endswith(".py"):
            return _load_file(readable_file(origin, "a Python file"))
        if not _is_dotted(origin):
            raise UsageError(f"{origin!r}: not a module name; for a file write path/to/file.py:function")
        return importlib.import_module(origin)
    except CnntkError:
        raise
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingDependency(
                f"{origin} needs torch, which is not installed; pip install 'cnntk[export]' brings it"
            ) from error
        raise UsageError(
            f"{origin}: {describe_error(error)}; install it, or name a file as path/to/file.py:function"
        ) from error
    except SystemExit as error:
        raise UsageError(
            f"{origin}: can't be imported: {describe_error(error)}; move its script code "
            "under if __name__ == '__main__'"
        ) from error
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"{origin}: can't be imported: {describe_error(error)}") from error


def _load_file(file: Path) -> ModuleType:
    """Runs ``file`` as a module of a unique name, so that a user's lenet.py hides no other module."""
    name = f"_cnntk_{file.stem}_{sha256(bytes(file.resolve())).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their classes' module up
    try:
        spec.loader.exec_module(module)
    except BaseException:  # the module may raise any
        del sys.modules[name]
        raise
    return module


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _arguments(factory: Callable[..., Any]) -> str:
    try:
        return str(inspect.signature(factory))
    except ValueError:  # functions in C may have none
        return "not known"
