"""The formulas in the documentation make the inputs that the self-test runs, in three languages."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cnntk.runtime.artifact.canonical import canonical_bytes, canonical_inputs
from cnntk.runtime.artifact.spec import TensorSpec
from cnntk.runtime.errors import UnsupportedArtifact

PAGE = (Path(__file__).parents[3] / "docs" / "self-test.md").read_text(encoding="utf-8")
SEEDS = (0, 1, 7, 255, 123456789)
COUNT = 3000


def code(language: str) -> str:
    return next(c for c in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if "noise(" in c)


def python_values() -> list[int]:
    return [int(b) for seed in SEEDS for b in canonical_bytes(COUNT, "noise", seed)]


def test_python_makes_the_same_noise() -> None:
    names: dict[str, object] = {}
    exec(code("python"), names)
    assert [names["noise"](i, seed) for seed in SEEDS for i in range(COUNT)] == python_values()


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here")
def test_javascript_makes_the_same_noise() -> None:
    script = f"""{code("javascript")}
    const out = [];
    for (const seed of {list(SEEDS)}) for (let i = 0; i < {COUNT}; i++) out.push(noise(i, seed));
    console.log(out.join(" "));"""
    done = subprocess.run(["node", "-e", script], check=True, capture_output=True, text=True)
    assert [int(x) for x in done.stdout.split()] == python_values()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here")
def test_c_makes_the_same_noise(tmp_path: Path) -> None:
    source = f"""#include <stdint.h>
    #include <stdio.h>
    {code("c")}
    int main(void) {{
      uint32_t seeds[] = {{{", ".join(map(str, SEEDS))}}};
      for (int s = 0; s < {len(SEEDS)}; s++)
        for (uint32_t i = 0; i < {COUNT}; i++) printf("%d ", noise(i, seeds[s]));
    }}"""
    (tmp_path / "noise.c").write_text(source)
    subprocess.run(["gcc", "-O2", "-o", tmp_path / "noise", tmp_path / "noise.c"], check=True)
    done = subprocess.run([tmp_path / "noise"], check=True, capture_output=True, text=True)
    assert [int(x) for x in done.stdout.split()] == python_values()


def test_noise_is_noise() -> None:
    values = canonical_bytes(1 << 16, "noise", 1).astype(np.float64) - 127.5
    for shift in (1, 2, 3, 28, 32, 224, 256):
        correlation = (values[shift:] * values[:-shift]).mean() / values.var()
        assert abs(correlation) < 0.02
    assert np.ptp(np.bincount((values + 127.5).astype(int), minlength=256)) < 256
    assert not np.array_equal(canonical_bytes(99, "noise", 1), canonical_bytes(99, "noise", 2))


def test_ramp_and_constant() -> None:
    assert canonical_bytes(100, "ramp", 3).tolist() == [i * 3 % 256 for i in range(100)]
    assert canonical_bytes(3, "constant", 255).tolist() == [255] * 3


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", lambda b: b),
        ("int8", lambda b: b - 128),
        ("float16", lambda b: (b - 128) / 128),
        ("float32", lambda b: (b - 128) / 128),
        ("float64", lambda b: (b - 128) / 128),
        ("bool", lambda b: b >= 128),
        ("int64", lambda b: b >> 4),
        ("int32", lambda b: b >> 4),
    ],
)
def test_every_type(dtype: str, expected: object) -> None:
    array = canonical_inputs([TensorSpec("x", dtype, ("N", 16, 32))], "noise", 5, {"N": 1})["x"]
    assert (array.dtype, array.shape) == (np.dtype(dtype), (1, 16, 32))
    numbers = canonical_bytes(512, "noise", 5).astype(int).tolist()
    assert array.reshape(-1).tolist() == [expected(b) for b in numbers]


def test_several_inputs_differ_and_free_dimensions_get_sizes() -> None:
    specs = [TensorSpec("a", "uint8", ("N", "H", 3)), TensorSpec("b", "uint8", ("N", 6))]
    arrays = canonical_inputs(specs, "noise", 1, {"N": 2, "H": 4})
    assert arrays["a"].shape == (2, 4, 3)
    assert not np.array_equal(arrays["a"].reshape(-1)[:12], arrays["b"].reshape(-1))
    assert np.array_equal(arrays["b"].reshape(-1), canonical_bytes(12, "noise", 2))
    with pytest.raises(UnsupportedArtifact, match="input a: the self-test has no size for its dimension H"):
        canonical_inputs(specs, "noise", 1, {"N": 2})
