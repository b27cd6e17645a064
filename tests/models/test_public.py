"""What `cnntk.models` offers, and what it costs to import."""

from __future__ import annotations

import subprocess
import sys

import cnntk.models

PUBLIC = [
    "Checkpoint",
    "Recipe",
    "ZooEntry",
    "build",
    "find",
    "init_cnn",
    "init_normal",
    "load_checkpoint",
    "load_weights",
    "names",
    "nin_block",
    "save_checkpoint",
    "vgg_block",
    "with_new_head",
    "without_head",
    "zoo_with_new_head",
]


def fresh(code: str) -> str:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_the_public_names() -> None:
    assert PUBLIC == cnntk.models.__all__ == dir(cnntk.models)


def test_every_name_is_what_it_says_even_after_all_modules_are_loaded() -> None:
    code = (
        "import pkgutil, types, cnntk.models as m\nfrom importlib import import_module\n"
        "for found in pkgutil.iter_modules(m.__path__, 'cnntk.models.'): import_module(found.name)\n"
        "print([n for n in m.__all__ if isinstance(getattr(m, n), types.ModuleType)])"
    )
    assert fresh(code) == "[]"


def test_the_package_and_the_zoo_load_no_torch() -> None:
    code = (
        "import sys, cnntk.models\n"
        "from cnntk.models import zoo\n"
        "zoo.names(), zoo.find('lenet')\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert fresh(code) == "False False"
    assert fresh("import sys, cnntk.models.lenet; print('torch' in sys.modules)") == "True"
