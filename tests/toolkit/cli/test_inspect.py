import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from cnntk.exporters.graph_lint.lint import lint_graph
from cnntk.exporters.shapes.shape_table import layer_table
from cnntk.runtime.artifact.spec import METADATA_KEY, ModelSpec


@pytest.fixture
def proven_onnx(tiny_onnx: Path) -> Path:
    """An artifact with layers and a proof, one part of which this version does not know."""
    model = onnx.load(tiny_onnx)
    graph = ir.from_proto(model)
    (entry,) = (p for p in model.metadata_props if p.key == METADATA_KEY)
    parity = {
        "output": "logits",
        "scale": 1.0,
        "torch_error": 1e-7,
        "bound": 4e-6,
        "holds": True,
        "batches": [1],
    }
    check_results = {
        "checks": [
            {"name": "batch invariance", "detail": "the same to 2e-7"},
            {"name": "parity", "detail": "x"},
        ],
        "parity": [
            {**parity, "kind": "noise", "onnx_error": 3e-6},
            {**parity, "kind": "zeros", "onnx_error": 1e-6},
        ],
        "repaired": ["node_dropout removed"],
        "graph_lint": asdict(lint_graph(graph)) | {"warnings": ["flat: odd " + "and long " * 20]},
        "of a later version": {"secret": 1},
    }
    spec = ModelSpec.from_json(entry.value, "tiny")
    entry.value = replace(spec, layers=layer_table(graph), check_results=check_results).to_json()
    onnx.save(model, tiny_onnx)
    return tiny_onnx


def test_the_shipped_lenet(cnntk: Callable) -> None:
    done = cnntk("inspect")
    assert done.status == 0
    text = " ".join(done.out.split())
    for word in (
        "NxHxWx1",
        "416,520",
        "resize longest side to fit 28x28 (bilinear), pad with black, invert images with a light background",
        "Softmax",
        "parity of logits",
        "61,706",
    ):
        assert word in text


def test_the_proof_and_the_oddities(cnntk: Callable, proven_onnx: Path) -> None:
    out = " ".join(cnntk("inspect", proven_onnx).out.split())
    for words in (
        "batch invariance: the same to 2e-7",
        "max abs error vs float64 3e-06 (limit 4e-06; worst input of 2: noise)",
        "node_dropout removed",
        "flat: odd",
        "at most 76 B per image",
        "memory",
    ):
        assert words in out
    assert "secret" not in out
    assert "later" not in out


def test_tables_are_narrow_and_numbers_flush_right(cnntk: Callable, proven_onnx: Path) -> None:
    done = cnntk("inspect", proven_onnx)
    lines = [line for line in done.out.splitlines() if not line.startswith("file")]
    assert max(map(len, lines)) <= 80
    table = lines[next(i for i, line in enumerate(lines) if line.startswith("  layer ")) :]
    end = table[0].index("parameters") + len("parameters")
    assert [line[:end].split()[-1] for line in table] == ["parameters", "0", "51", "0"]


def test_json_equals_the_spec(cnntk: Callable) -> None:
    report = cnntk("inspect", "--json").json
    assert report["parameters"] == sum(layer["parameters"] for layer in report["layers"]) == 61_706
    assert report["spec"]["preprocessing"]["invert"] == "light-background"


def test_a_foreign_file(cnntk: Callable, foreign_onnx: Path) -> None:
    done = cnntk("inspect", foreign_onnx)
    assert done.status == 0
    assert "Gemm" in done.out
    assert "per image" in done.out
    assert "not made by cnntk" in done.err


def test_nothing_is_counted_where_the_layers_can_not_be_read(foreign_onnx: Path) -> None:
    code = (
        "import sys; sys.modules['onnx_ir'] = None; from cnntk.cli import main; "
        f"sys.exit(main(['inspect', {str(foreign_onnx)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "parameters" not in done.stdout
    assert "pip install 'cnntk[export]'" in done.stderr
