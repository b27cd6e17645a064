from __future__ import annotations

import json
from pathlib import Path

import pytest

from cnntk.quantization.config import LayerPlan, Recipe
from cnntk.quantization.store import Store, recipe_key
from cnntk.runtime.errors import DataError, UsageError

RECIPE = Recipe({"a": LayerPlan("int8", "why not"), "b": LayerPlan("float32")})
CONTEXT = {"model": "abc", "threads": 2}


def test_what_is_put_is_there_for_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "trials.json"
    Store(file, CONTEXT).put(RECIPE, "race", {"ratio": 2.0})
    again = Store(file, CONTEXT)
    assert again.get(RECIPE, "race") == {"ratio": 2.0}
    assert again.get(RECIPE, "accuracy") is None
    assert again.get(RECIPE.with_kind("b", "int8", ""), "race") is None


def test_without_a_file_it_remembers() -> None:
    store = Store()
    store.put(RECIPE, "divergence", 0.5)
    assert store.get(RECIPE, "divergence") == 0.5


def test_reasons_make_no_other_recipe() -> None:
    assert recipe_key(RECIPE) == recipe_key(RECIPE.with_kind("a", "int8", "because"))
    assert recipe_key(RECIPE) != recipe_key(RECIPE.with_kind("a", "int4", ""))
    assert recipe_key(RECIPE) != recipe_key(Recipe(RECIPE.layers, "vnni"))


def test_another_context_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trials.json"
    Store(file, CONTEXT)
    with pytest.raises(UsageError, match="was begun with threads 2, now it is 1"):
        Store(file, {**CONTEXT, "threads": 1})


@pytest.mark.parametrize("text", ["{", "[]", '{"trials": 1}'])
def test_damage_is_told(tmp_path: Path, text: str) -> None:
    file = tmp_path / "trials.json"
    file.write_text(text)
    with pytest.raises(DataError, match="no sound results"):
        Store(file, CONTEXT)


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trials.json"
    file.write_text(json.dumps({"trials": 99, "context": CONTEXT, "results": {}}))
    with pytest.raises(UsageError, match="another version"):
        Store(file, CONTEXT)
