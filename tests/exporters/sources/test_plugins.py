import sys
from pathlib import Path

import pytest

from cnntk.exporters.source import SourceOptions
from cnntk.exporters.sources import open_source
from cnntk.exporters.sources.plugins import find_plugin
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
    source = open_source("linear:5", SourceOptions(labels=("a", "b")))
    assert (source.name, source.labels) == ("linear5", ("a", "b"))
    assert not source.module.training
    assert list(source.module._forward_hooks)


def test_none_of_that_name(install) -> None:
    install("mine", "linear = cnntk_test_plugin:linear")
    assert find_plugin("other") is None
    with pytest.raises(UsageError, match="other"):
        open_source("other:5", SourceOptions(input_shape=(3, 8, 8), random=True))


def test_two_of_one_name_are_refused(install) -> None:
    install("mine", "linear = cnntk_test_plugin:linear")
    install("yours", "linear = cnntk_test_plugin:linear")
    with pytest.raises(
        UsageError, match=r"the source 'linear' is given by \w+ 1.0 .* and by \w+ 1.0 .*uninstall one"
    ):
        find_plugin("linear")


@pytest.mark.parametrize("name", ["transformers", "timm"])
def test_cnntks_own_names_are_refused(install, name: str) -> None:
    install("mine", f"{name} = cnntk_test_plugin:linear")
    with pytest.raises(UsageError, match=f"the source '{name}' is given by cnntk itself and by mine 1.0"):
        find_plugin("linear")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("cnntk_test_plugin:gone", "the source 'broken' of mine 1.0 .* can't be loaded"),
        ("no_such_module:linear", "the source 'broken' of mine 1.0 .* can't be loaded"),
        ("cnntk_test_plugin:nothing", "the source 'broken' of mine 1.0 .* gave NoneType, not a Source"),
    ],
)
def test_a_broken_plugin_is_named(install, target: str, message: str) -> None:
    install("mine", f"broken = {target}")
    with pytest.raises(UsageError, match=message):
        open_source("broken:5", SourceOptions())
