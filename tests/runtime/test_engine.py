import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cnntk.runtime import ArtifactCorrupt, DeviceUnavailable, Engine, InputError, UnsupportedArtifact
from cnntk.runtime.errors import UsageError

BATCH = np.random.default_rng(0).random((3, 1, 4, 4), dtype=np.float32)


def test_answers_by_name(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    answers = engine.run({"input": BATCH})
    assert list(answers) == ["logits", "probabilities"]
    np.testing.assert_allclose(answers["probabilities"].sum(axis=1), 1, atol=1e-6)
    assert engine.spec is not None
    assert engine.spec.name == "tiny"
    assert engine.inputs[0].shape == ("N", 1, 4, 4)
    assert engine.device == "cpu"


def test_takes_bytes_and_foreign_files(tiny_onnx: Path, foreign_onnx: Path) -> None:
    expected = Engine(tiny_onnx).run({"input": BATCH})["logits"]
    assert np.array_equal(Engine(tiny_onnx.read_bytes()).run({"input": BATCH})["logits"], expected)
    foreign = Engine(foreign_onnx)
    assert foreign.spec is None
    assert np.array_equal(foreign.run({"input": BATCH})["logits"], expected)


@pytest.mark.parametrize(
    ("inputs", "got"),
    [
        ({}, "got nothing"),
        ({"image": BATCH}, r"got image: float32 \[3, 1, 4, 4\]"),
        ({"input": BATCH.astype(np.float64)}, "got input: float64"),
        ({"input": BATCH.astype(">f4")}, "foreign byte order"),
        ({"input": BATCH[0]}, r"got input: float32 \[1, 4, 4\]"),
        ({"input": BATCH.transpose(0, 2, 3, 1)}, r"got input: float32 \[3, 4, 4, 1\]"),
        ({"input": BATCH, "more": BATCH}, "more: float32"),
    ],
    ids=["missing", "name", "dtype", "byte order", "rank", "layout", "extra"],
)
def test_misfits_say_expected_and_got(tiny_onnx: Path, inputs: dict[str, np.ndarray], got: str) -> None:
    with pytest.raises(InputError, match=rf"expected input: float32 \[N, 1, 4, 4\]; .*{got}"):
        Engine(tiny_onnx).run(inputs)


def test_files_that_are_no_model(tmp_path: Path, tiny_onnx: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a model")
    for path, error, message in [
        (tmp_path / "gone.onnx", UsageError, "no such file"),
        (tmp_path, UsageError, "is a folder"),
        (text, ArtifactCorrupt, "no ONNX model"),
    ]:
        with pytest.raises(error, match=message) as caught:
            Engine(path)
        assert str(path) in str(caught.value)
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(tiny_onnx.read_bytes()[:-40])
    with pytest.raises(ArtifactCorrupt):
        Engine(cut)


def test_a_later_opset_is_unsupported(tmp_path: Path, tiny_onnx: Path) -> None:
    import onnx

    model = onnx.load(tiny_onnx)
    model.opset_import[0].version = 99
    with pytest.raises(UnsupportedArtifact, match="onnxruntime"):
        Engine(model.SerializeToString())


def test_cuda_is_never_the_cpu_unasked(tiny_onnx: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert Engine(tiny_onnx, "cuda").device == "cuda:0"
    else:
        with pytest.raises(DeviceUnavailable, match=r"has no CUDA.*cnntk\[gpu\]"):
            Engine(tiny_onnx, "cuda")
        assert Engine(tiny_onnx, "auto").device == "cpu"


@pytest.mark.parametrize("name", ["CUDA", "tpu", "cuda:", "cuda:-1", ""])
def test_unknown_devices(tiny_onnx: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is unknown; use cpu, cuda"):
        Engine(tiny_onnx, name)


def test_threads(tiny_onnx: Path) -> None:
    assert Engine(tiny_onnx, threads=1).threads == 1
    with pytest.raises(ValueError, match="at least 1"):
        Engine(tiny_onnx, threads=0)


def test_many_threads_get_the_same_answers(tiny_onnx: Path) -> None:
    engine = Engine(tiny_onnx)
    expected = engine.run({"input": BATCH})["logits"]
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: engine.run({"input": BATCH})["logits"], range(400)):
            assert np.array_equal(answer, expected)


def test_pickled_it_loads_again(tiny_onnx: Path) -> None:
    again = pickle.loads(pickle.dumps(Engine(tiny_onnx, threads=1)))
    assert again.threads == 1
    assert again.run({"input": BATCH})["logits"].shape == (3, 3)
