import configparser
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source_kind import source_kind
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources.plugins import open_plugin_source
from cnntk.runtime.errors import UsageError

CODE = """
from torch import nn
from cnntk.exporters.source import Source
from cnntk.runtime.artifact.spec import TensorSpec

def linear(text, options):
    size = int(text)
    return Source(f"linear{size}", (TensorSpec("input", "float32", ("N", size)),), nn.Linear(size, 2))

def nothing(text, options):
    return None
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Lays a distribution on the path, as pip would."""

    def lay(distribution: str, points: str) -> None:
        folder = tmp_path / f"{distribution}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[cnntk.sources]\n{points}\n")
        (tmp_path / "cnntk_test_plugin.py").write_text(CODE)

    monkeypatch.syspath_prepend(tmp_path)
    yield lay
    sys.modules.pop("cnntk_test_plugin", None)


def test_a_plugin_opens_what_stands_behind_the_colon(install) -> None:
    install("mine", "linear = cnntk_test_plugin:linear")
    source = open_source("linear:5", ExportOptions(labels=("a", "b")))
    assert (source.name, source.labels) == ("linear5", ("a", "b"))
    assert not source.module.training
    assert list(source.module._forward_hooks)


def test_none_of_that_name(install) -> None:
    install("mine", "linear = cnntk_test_plugin:linear")
    assert (source_kind("linear:5"), source_kind("other:5")) == ("plugin", "factory")
    with pytest.raises(UsageError, match="other"):
        open_source("other:5", ExportOptions(input_shape=(3, 8, 8), random=True))


def test_two_of_one_name_are_refused(install) -> None:
    install("mine", "linear = cnntk_test_plugin:linear")
    install("yours", "linear = cnntk_test_plugin:linear")
    with pytest.raises(
        UsageError, match=r"the source 'linear' is provided by \w+ 1.0 .* and by \w+ 1.0 .*uninstall one"
    ):
        open_plugin_source("linear", "5", ExportOptions())


@pytest.mark.parametrize("name", ["transformers", "timm", "torchvision.models"])
def test_names_of_cnntk_are_refused(install, name: str) -> None:
    install("mine", f"{name} = cnntk_test_plugin:linear")
    with pytest.raises(UsageError, match=f"the source '{name}' is provided by cnntk itself and by mine 1.0"):
        open_plugin_source("linear", "5", ExportOptions())


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cnntk_test_plugin:gone", "the source 'broken' of mine 1.0 .* can't be loaded"),
        ("no_such_module:linear", "the source 'broken' of mine 1.0 .* can't be loaded"),
        (
            "cnntk_test_plugin:nothing",
            "the source 'broken' of mine 1.0 .* returned NoneType, expected a Source",
        ),
    ],
)
def test_a_broken_plugin_is_named(install, target: str, message: str) -> None:
    install("mine", f"broken = {target}")
    with pytest.raises(UsageError, match=message):
        open_source("broken:5", ExportOptions())


def test_the_page_s_example(tmp_path: Path) -> None:
    """The distribution of docs/plugins.md, installed as pip would, in a process of its own."""
    page = (Path(__file__).parents[3] / "docs" / "plugins.md").read_text()
    blocks = dict(re.findall(r"```(toml|python)\n(.*?)```", page, flags=re.DOTALL))
    project = tomllib.loads(blocks["toml"])["project"]
    lines = [f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("".join(lines))
    points = configparser.ConfigParser(delimiters="=")
    points.read_dict(project["entry-points"])
    with (info / "entry_points.txt").open("w") as file:
        points.write(file)
    (tmp_path / "acme_cnntk.py").write_text(blocks["python"])
    run = subprocess.run(
        [sys.executable, "-c", EXPORTS],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "['class 0', 'class 1', 'class 2'] image",
        "10 input",
        "UsageError: acme:three: expected a number of classes, like acme:10",
    ]


EXPORTS = """
from cnntk.exporters import export
from cnntk.runtime import Engine
from cnntk.runtime.errors import UsageError

export("acme:3", "acme.onnx")
spec = Engine("acme.onnx").spec
print(list(spec.labels), spec.inputs[0].name)
export("acmenet", "acmenet.onnx", random=True)
spec = Engine("acmenet.onnx").spec
print(len(spec.labels), spec.inputs[0].name)
try:
    export("acme:three", "three.onnx")
except UsageError as error:
    print("UsageError:", error)
"""
