"""Options made from dataclasses, and the help of every command."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result

from cnntk.cli import COMMANDS, cli
from cnntk.cli.options import Command, add_options, attribute_texts, command, to_options
from cnntk.data import open_data
from cnntk.shipped import shipped_checkpoint, shipped_model


def _halves(text: str) -> tuple[int, int]:
    first, slash, second = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r}: expected two numbers, like 1/2")
    return int(first), int(second)


@dataclass(frozen=True)
class Options:
    """Options of a test.

    Attributes:
        size: Size of the thing. What follows is not in the help.
        share: Share of it, 0 to 1,
            with a default of its own.
        kind: Kind of it.
        names: Name of one; may be repeated.
        pairs: Named values.
        halves: Two halves.
        wanted: Do it at all.
        hidden: Is no option.
    """

    size: int = field(default=3, metadata={"flag": "--size -s", "min": 1, "group": "Sizes"})
    share: float | None = field(default=None, metadata={"max": 1, "group": "Sizes"})
    kind: Literal["a", "b"] = "a"
    names: tuple[str, ...] | None = None
    pairs: dict[str, str] = field(default_factory=dict)
    halves: tuple[int, int] | None = field(default=None, metadata={"parse": _halves, "metavar": "A/B"})
    wanted: bool = False
    hidden: str = field(default="x", metadata={"flag": None})


def run(*args: str) -> Result:
    @command("test --size 4")
    @add_options(Options)
    def example(**values: Any) -> Options:
        """Try options."""
        return to_options(Options, values)

    return CliRunner().invoke(example, args, standalone_mode=False)


def test_left_out_options_have_the_dataclass_s_defaults() -> None:
    assert run().return_value == Options()


def test_options_become_fields() -> None:
    args = ("-s", "4", "--share", "0.5", "--kind", "b", "--names", "x", "--names", "y")
    result = run(*args, "--pairs", "k=v", "--pairs", "l=w=x", "--halves", "1/2", "--wanted")
    assert result.return_value == Options(4, 0.5, "b", ("x", "y"), {"k": "v", "l": "w=x"}, (1, 2), True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--size", "0"), "0 is not in the range x>=1"),
        (("--size", "many"), "'many' is not a valid integer"),
        (("--share", "2"), "2.0 is not in the range x<=1"),
        (("--kind", "c"), "'c' is not one of 'a', 'b'"),
        (("--pairs", "k"), "'k' is not of the form name=value"),
        (("--halves", "1"), "expected two numbers, like 1/2"),
        (("--hidden", "y"), "No such option"),
    ],
)
def test_wrong_values_are_usage_errors(args: tuple[str, ...], message: str) -> None:
    error = run(*args).exception
    assert isinstance(error, click.UsageError)
    assert message in error.format_message()


def test_help_is_the_docstring_s_first_sentence_in_groups() -> None:
    text = run("--help").output
    assert text.index("Sizes:") < text.index("-s, --size N") < text.index("Options:") < text.index("General:")
    assert "Size of the thing." in text
    assert "What follows" not in text
    assert "Share of it, 0 to 1, with a default of its own." in " ".join(text.split())
    assert "[default: 3;" in text
    assert text.rstrip().endswith("Examples:\n  test --size 4")


def test_entries_of_a_docstring() -> None:
    assert attribute_texts(Options)["share"] == "Share of it, 0 to 1, with a default of its own."
    assert list(attribute_texts(Options)) == list(Options.__dataclass_fields__)


def command_of(name: str) -> Command:
    subject = cli.get_command(click.Context(cli), name)
    assert isinstance(subject, Command)
    return subject


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_and_has_two_examples(name: str) -> None:
    subject = command_of(name)
    assert len(subject.examples) >= 2
    assert all(line.startswith(f"cnntk {name}") for line in subject.examples)
    assert subject.help
    assert all(param.help for param in subject.params if isinstance(param, click.Option))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty digits in a folder per class."""
    from PIL import Image

    folder, test = tmp_path_factory.mktemp("photos"), open_data("digits").test
    for index in range(40):
        label = folder / str(test.labels[index])
        label.mkdir(exist_ok=True)
        Image.fromarray(test.images.pixels[index, :, :, 0]).save(label / f"{index}.png")  # type: ignore[attr-defined]
    return folder


SLOW = {"train", "quantize", "bench"}

OWN_NETWORK = """
from torch import nn

def net():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(10))
"""


@pytest.mark.parametrize(
    ("name", "line"),
    [
        pytest.param(name, line, id=line, marks=[pytest.mark.slow] if name in SLOW else [])
        for name in COMMANDS
        for line in command_of(name).examples
    ],
)
def test_examples_work(cnntk: Callable[..., Any], photos: Path, name: str, line: str) -> None:
    shutil.copy(shipped_model(), "lenet.onnx")
    shutil.copytree(photos, "photos")
    shutil.copytree(shipped_checkpoint(), "runs/lenet-digits")
    shutil.copy(next(Path("photos").glob("*/*.png")), "photos/one.png")
    Path("model.py").write_text(OWN_NETWORK)
    if name == "train":
        shutil.rmtree("runs")
    args = [arg for word in shlex.split(line)[1:] for arg in (sorted(map(str, Path().glob(word))) or [word])]
    done = cnntk(*args)
    nothing_faster = name == "quantize" and done.status == 1 and "ship lenet.onnx as it is" in done.out
    assert done.status == 0 or nothing_faster, done.err


def test_usage_errors_and_help_are_fast() -> None:
    """Within half a second of processor time, which the load of the machine does not change."""
    import resource
    import subprocess
    import sys

    for args in (["bench", "--batch", "x"], ["train", "--help"], ["quantize"], ["export", "--seed", "x"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begin = time.monotonic()
        subprocess.run([sys.executable, "-m", "cnntk", *args], capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert min(used, time.monotonic() - begin) < 0.5, args
