from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from cnntk.models.factory import absolute, construct, locate
from cnntk.runtime.errors import DataError, UsageError

SOURCE = """
from dataclasses import dataclass
from torch import nn

@dataclass
class Width:
    value: int

def small(width=3):
    return nn.Linear(Width(width).value, 2)

def nothing():
    return None

size = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "nets.py"
    path.write_text(SOURCE)
    return path


def test_a_function_of_a_module() -> None:
    assert locate("cnntk.models.lenet:lenet").__name__ == "lenet"
    assert isinstance(construct("torch.nn:Linear", {"in_features": 2, "out_features": 1}), nn.Linear)


def test_a_function_of_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert construct(f"{file}:small", {"width": 5}).weight.shape == (2, 5)
    monkeypatch.chdir(file.parent)
    assert construct("nets.py:small", {}).weight.shape == (2, 3)


def test_an_instance_is_copied(file: Path) -> None:
    file.write_text(SOURCE + "net = small()\n")
    first, second = (construct(f"{file}:net", {}) for _ in range(2))
    assert first.weight is not second.weight
    with pytest.raises(UsageError, match=r"py:net: is a module already, so it takes no arguments such as .w"):
        construct(f"{file}:net", {"width": 3})


def test_an_edited_file_is_read_again(file: Path) -> None:
    assert construct(f"{file}:small", {}).weight.shape == (2, 3)
    file.write_text(SOURCE.replace("width=3", "width=11"))
    assert construct(f"{file}:small", {}).weight.shape == (2, 11)


def test_a_file_hides_no_module_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(SOURCE)
    construct(f"{tmp_path / 'json.py'}:small", {})
    import json

    assert json.loads("1") == 1


@pytest.mark.parametrize(
    ("reference", "kwargs", "message"),
    [
        ("lenet", {}, "'lenet': expected package.module:function or path/to/file.py:function"),
        ("cnntk.models.lenet:", {}, "expected package.module:function"),
        (":lenet", {}, "expected package.module:function"),
        ("my-nets.lenet:small", {}, "'my-nets.lenet': not a module name"),
        ("no_such_package.nets:small", {}, "No module named 'no_such_package'; install it, or name a file"),
        ("cnntk.models.lenet:lenett", {}, "cnntk.models.lenet has no 'lenett'"),
        ("cnntk.models.lenet:__all__", {}, "is list, expected a function"),
        ("no/such/file.py:small", {}, "no/such/file.py: no such file"),
        (
            "cnntk.models.lenet:lenet",
            {"classes": 3},
            r"unexpected .* 'classes'; its arguments are \(num_classes: ",
        ),
        ("cnntk.models.lenet:lenet", {"num_classes": "ten"}, "cnntk.models.lenet:lenet: .*'str' and 'int'"),
        ("cnntk.models.alexnet:alexnet", {"dropout": 2, "image_size": 65}, "dropout probability"),
        ("torch:zeros", {"size": [1]}, "returned Tensor, expected a torch.nn.Module"),
        ("collections.abc:Mapping", {}, "is of Python's built-ins or standard library, which is never run"),
    ],
)
def test_errors_are_one_line(reference: str, kwargs: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        construct(reference, kwargs)
    assert "\n" not in str(raised.value)


def test_what_is_wrong_with_a_file(file: Path) -> None:
    with pytest.raises(UsageError, match=r"nets.py has no 'tiny'"):
        construct(f"{file}:tiny", {})
    with pytest.raises(UsageError, match=r"returned NoneType, expected a torch.nn.Module"):
        construct(f"{file}:nothing", {})
    with pytest.raises(UsageError, match="is int, expected a function"):
        construct(f"{file}:size", {})
    file.write_text("def net(arch, rate=0.1): ...")
    with pytest.raises(UsageError, match=r"are \(arch, rate=0.1\); name a function of yours that calls it"):
        construct(f"{file}:net", {})
    with pytest.raises(UsageError, match=r"its arguments are \(arch, rate=0.1\)$"):
        construct(f"{file}:net", {"size": 3})
    file.write_text("def broken(:\n")
    with pytest.raises(UsageError, match=r"can't be imported: SyntaxError: invalid syntax \(.*nets\.py:1\)$"):
        construct(f"{file}:broken", {})
    file.write_text("import no_such_thing")
    with pytest.raises(UsageError, match="No module named 'no_such_thing'"):
        construct(f"{file}:broken", {})
    left = [module for name, module in sys.modules.items() if name.startswith("_cnntk_nets")]
    assert not [module for module in left if module.__file__ == str(file)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("raise RuntimeError('no luck\\ntoday')", r"RuntimeError: no luck \("),
        ("{}['weights']", r"KeyError: 'weights' \("),
        ("open('no-such-file')", r"FileNotFoundError: .*no-such-file' \("),
        ("1 / 0", r"ZeroDivisionError: division by zero \("),
        ("raise SystemExit(3)", r"SystemExit: 3 \("),
        ("assert not 1", r"AssertionError \("),
    ],
)
@pytest.mark.parametrize("when", ["at import", "when called"])
def test_whatever_it_raises_is_one_line_with_its_location(
    file: Path, line: str, message: str, when: str
) -> None:
    file.write_text(f"{line}\n" if when == "at import" else f"def small():\n    {line}\n")
    number = 1 if when == "at import" else 2
    with pytest.raises(UsageError, match=rf"{message}{file}:{number}\)") as raised:
        construct(f"{file}:small", {})
    assert "\n" not in str(raised.value)
    assert ("under if __name__" in str(raised.value)) == (when == "at import" and "SystemExit" in line)


def test_ctrl_c_and_cnntk_errors_pass_unchanged(file: Path) -> None:
    file.write_text("def small():\n    raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        construct(f"{file}:small", {})
    file.write_text("from cnntk.runtime.errors import DataError\nraise DataError('mine')\n")
    with pytest.raises(DataError, match=r"^mine$"):
        construct(f"{file}:small", {})


def test_a_files_path_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("nets.py:a.b") == f"{tmp_path / 'nets.py'}:a.b"
    assert absolute(f"{tmp_path}/nets.py:a") == f"{tmp_path}/nets.py:a"
    assert [absolute(name) for name in ("lenet", "nets:net")] == ["lenet", "nets:net"]


def test_without_torch_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"  # what Python itself does for a module that may not load
        "from cnntk.models import build\n"
        "from cnntk.runtime.errors import MissingDependency\n"
        "from cnntk.runtime.artifact.spec import Network\n"
        "try: build(Network('lenet'))\n"
        "except MissingDependency as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "needs torch, which is not installed; pip install 'cnntk[export]'" in run.stdout


STANDARD = """
import functools, os, pathlib, subprocess
from os import system
run = functools.partial(system, "touch {ran}")
calls = {{}}

class Net:
    command = staticmethod(os.system)
"""


@pytest.mark.parametrize(
    "attribute",
    [
        "os.system",
        "system",
        "subprocess.run",
        "run",
        "pathlib.Path.touch",
        "Net.command",
        "calls.get",
        "Net.mro",
    ],
)
def test_no_name_leads_to_the_standard_library(file: Path, attribute: str) -> None:
    ran = file.with_name("RAN")
    file.write_text(STANDARD.format(ran=ran) + SOURCE)
    kwargs = {"command": f"touch {ran}"} if "ystem" in attribute or "command" in attribute else {}
    with pytest.raises(UsageError, match=r"is of Python's built-ins or standard library, which is never run"):
        construct(f"{file}:{attribute}", kwargs)
    assert not ran.exists()
    assert isinstance(construct(f"{file}:small", {}), nn.Linear)


def test_a_partial_and_a_cached_function_are_factories(file: Path) -> None:
    file.write_text(
        f"import functools\n{SOURCE}wide = functools.partial(small, 7)\nonce = functools.cache(small)\n"
    )
    assert construct(f"{file}:wide", {}).weight.shape == (2, 7)
    assert construct(f"{file}:once", {}).weight.shape == (2, 3)


@pytest.mark.parametrize("module", ["os", "subprocess", "this", "importlib.util", "posix"])
def test_a_module_of_the_standard_library_is_not_imported(module: str) -> None:
    with pytest.raises(UsageError, match=rf"^{module}:system: is of Python's built-ins or standard library"):
        construct(f"{module}:system", {"command": "true"})
    assert "this" not in sys.modules
