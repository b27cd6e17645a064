"""From ``package.module:function`` or ``path/to/file.py:function`` to the network that it builds."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import operator
import os
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from cnntk.models.user_errors import describe_error
from cnntk.runtime.errors import CnntkError, MissingDependency, UsageError
from cnntk.runtime.files import readable_file

if TYPE_CHECKING:
    from torch import nn

__all__ = ["absolute", "construct", "file_of", "locate"]


def construct(reference: str, kwargs: dict[str, Any]) -> nn.Module:
    """Calls the factory that ``reference`` names; it runs that factory's code, whatever it is.

    Raises:
        UsageError: there is no such factory, it raises whatever it may, or it gives no nn.Module.
        MissingDependency: torch is not installed.
    """
    factory = locate(reference)
    from torch import nn  # only now: what is wrong with the reference is said without torch, too

    try:
        network = factory(**kwargs)
    except CnntkError:
        raise  # one of ours is a sentence already
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{reference}: {describe_error(error)}; its arguments are {_arguments(factory)}"
        ) from error
    except (Exception, SystemExit) as error:  # code that is not ours may raise anything
        raise UsageError(f"{reference}: {describe_error(error)}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(f"{reference}: gave {type(network).__name__}, not a torch.nn.Module")
    return network


def locate(reference: str) -> Callable[..., Any]:
    """The function or class that ``reference`` names.

    Raises:
        UsageError: the reference has another form, or its module, file or attribute does not exist.
        MissingDependency: its module needs torch, which is not installed.
    """
    place, _, attribute = reference.rpartition(":")  # from the right: C:\nets.py:small has two colons
    if not place or not _is_dotted(attribute):
        raise UsageError(f"{reference!r} is neither package.module:function nor path/to/file.py:function")
    module = _load(place)
    try:
        found = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise UsageError(f"{reference}: {place} has no {attribute!r}") from error
    except (Exception, SystemExit) as error:  # a module's own __getattr__ is not our code either
        raise UsageError(f"{reference}: {describe_error(error)}") from error
    if not callable(found):
        raise UsageError(f"{reference}: is {type(found).__name__}, not a function or class")
    return found  # type: ignore[no-any-return]


def file_of(reference: str) -> str | None:
    """The file of ``path/to/file.py:function``; None of any other reference."""
    place = reference.rpartition(":")[0]
    return place if place.endswith(".py") else None


def absolute(reference: str) -> str:
    """``reference`` with its file, if it has one, as an absolute path: good in every folder."""
    file = file_of(reference)
    return reference if file is None else os.path.abspath(file) + reference.removeprefix(file)


def _load(place: str) -> ModuleType:
    try:
        return (
            _load_file(readable_file(place, "a Python file"))
            if place.endswith(".py")
            else _load_module(place)
        )
    except CnntkError:
        raise
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingDependency(
                f"{place} needs torch, which is not installed; pip install 'cnntk[export]' brings it"
            ) from error
        raise UsageError(
            f"{place}: {describe_error(error)}; install it, or name a file as path/to/file.py:function"
        ) from error
    except SystemExit as error:
        raise UsageError(
            f"{place}: can't be imported: {describe_error(error)}; put what it does as a script "
            "under if __name__ == '__main__'"
        ) from error
    except Exception as error:  # code that is not ours may raise anything
        raise UsageError(f"{place}: can't be imported: {describe_error(error)}") from error


def _load_module(name: str) -> ModuleType:
    if not _is_dotted(name):
        raise UsageError(f"{name!r} is no module's name; for a file write path/to/file.py:function")
    return importlib.import_module(name)


def _load_file(file: Path) -> ModuleType:
    """Runs ``file`` as a module under a name of its own, so that a user's lenet.py hides nobody's."""
    name = f"_cnntk_{file.stem}_{sha256(bytes(file.resolve())).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their classes' module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
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
