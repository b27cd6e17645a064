"""`Store`: what was measured of each recipe, kept in a file, so that a search can go on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnntk.quantization.config import Recipe
from cnntk.runtime.errors import DataError, UsageError
from cnntk.runtime.files import write_bytes

__all__ = ["Store", "recipe_key"]

_VERSION = 1


class Store:
    """Results by recipe and kind of measurement; each is on disk as soon as it is known.

    Args:
        file: JSON, made if missing; None to remember for this process only.
        context: what the results hold for (the model, the images, the machine); a file of another context is
            refused.

    Raises:
        UsageError: the file is of another context.
        DataError: the file is damaged.
    """

    def __init__(self, file: Path | None = None, context: Mapping[str, Any] | None = None) -> None:
        self._file = file
        self._context: dict[str, Any] = json.loads(json.dumps(dict(context or {})))
        self._results: dict[str, dict[str, Any]] = {}
        if file is not None and file.exists():
            self._results = _read(file, self._context)
        else:
            self._write()

    def get(self, recipe: Recipe, what: str) -> Any:
        """What `put` was given; None where nothing was."""
        return self._results.get(recipe_key(recipe), {}).get(what)

    def put(self, recipe: Recipe, what: str, result: Any) -> None:
        """Keeps JSON data."""
        self._results.setdefault(recipe_key(recipe), {})[what] = result
        self._write()

    def _write(self) -> None:
        if self._file is not None:
            document = {"trials": _VERSION, "context": self._context, "results": self._results}
            write_bytes(self._file, json.dumps(document, indent=1).encode())


def recipe_key(recipe: Recipe) -> str:
    """16 hex characters: the same for recipes that make the same model, whatever their reasons."""
    kinds = {name: layer.kind for name, layer in recipe.layers.items()}
    text = json.dumps([recipe.target, recipe.corrected, recipe.equalized, kinds])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(file: Path, context: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    try:
        data = json.loads(file.read_bytes())
        version, there, results = data["trials"], dict(data["context"]), dict(data["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{file}: holds no sound results ({told}); remove it, and begin again") from error
    if version != _VERSION:
        raise UsageError(f"{file}: is of another version of cnntk; remove it, and begin again")
    for key in sorted(context.keys() | there.keys()):
        if context.get(key) != there.get(key):
            raise UsageError(
                f"{file}: was begun with {key} {there.get(key)!r}, now it is {context.get(key)!r}; "
                "name another folder, or remove it"
            )
    return results
