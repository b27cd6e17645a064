import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch

from cnntk.exporters.capture import capture
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.source import Source
from cnntk.exporters.sources import open_source
from cnntk.runtime.artifact.spec import Preprocessing, TensorSpec
from cnntk.runtime.errors import CheckpointError, UsageError

transformers = pytest.importorskip("transformers")

RESNET = {"embedding_size": 4, "hidden_sizes": [4, 6], "depths": [1, 1], "num_labels": 3}
VIT = {
    "image_size": 16, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 8, "num_labels": 3,
}  # fmt: skip
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 16, "width": 16},
    "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.5, 0.5],
}  # fmt: skip


def opened(name: object, fields: dict[str, Any] | None = None, **options: Any) -> Source:
    return open_source(f"transformers:{name}", ExportOptions(kwargs=fields or {}, **options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    config = transformers.ViTConfig(**VIT, id2label={0: "cat", 1: "dog", 2: "owl"})
    torch.manual_seed(0)
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return tmp_path / "vit"


def test_a_type_with_random_weights() -> None:
    source = opened("resnet", RESNET, random=True, input_shape=(3, 32, 32))
    assert (source.name, source.classifier, source.labels, source.preprocessing) == ("resnet", True, (), None)
    assert source.inputs == (TensorSpec("input", "float32", ("N", 3, 32, 32)),)
    assert source.provenance["weights"] == "random, seed 0"
    model = capture(source).model
    assert [(v.name, str(v.shape)) for v in model.graph.outputs] == [("logits", "[N,3]")]
    session = ort.InferenceSession(ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)
    expected = source.module(torch.from_numpy(x))["logits"].detach().numpy()
    np.testing.assert_allclose(session.run(None, {"input": x})[0], expected, atol=1e-5)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, same, other = (opened("vit", VIT, random=True, seed=s).module.state_dict() for s in (1, 1, 2))
    name = next(n for n in first if n.endswith("projection.weight"))
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])


def test_a_folder(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = opened(folder)
    assert (source.name, source.labels, source.notes) == ("vit", ("cat", "dog", "owl"), ())
    assert source.inputs[0].shape == ("N", 3, 16, 16)
    assert source.preprocessing == Preprocessing("rgb", 16, 16, mean=(0.5, 0.5, 0.5), std=(0.25, 0.5, 0.5))
    x = torch.rand(2, 3, 16, 16)
    reference = transformers.ViTForImageClassification.from_pretrained(folder)
    capfd.readouterr()
    torch.testing.assert_close(source.module(x)["logits"], reference(x).logits)
    opened(folder)
    assert capfd.readouterr() == ("", "")


def test_only_the_logits_are_outputs() -> None:
    source = opened("vit", {**VIT, "output_hidden_states": True}, random=True)
    assert list(source.module(torch.zeros(1, 3, 16, 16))) == ["logits"]


def test_a_type_that_reads_images_as_rows_of_colors() -> None:
    fields = {"n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 2, "vocab_size": 33}
    source = opened("imagegpt", fields, random=True)
    assert source.inputs == (TensorSpec("input", "int64", ("N", 16)),)
    assert list(source.module(torch.zeros(2, 16, dtype=torch.int64))) == ["logits"]


def test_a_type_of_several_classes() -> None:
    fields = {"image_size": 64, "hidden_sizes": [16, 16, 16], "num_attention_heads": [2, 2, 2],
              "depths": [1, 1, 1],
              "key_dim": [8, 8, 8], "attention_ratio": [1, 1, 1], "mlp_ratio": [1, 1, 1]}  # fmt: skip
    assert type(opened("levit", fields, random=True).module).__name__ == "LevitForImageClassification"


def test_a_missing_size_is_noted() -> None:
    source = opened("resnet", RESNET, random=True)
    assert source.inputs[0].shape == ("N", 3, 224, 224)
    assert source.notes == (
        "the configuration has no image size; assuming 224 pixels (--input sets another)",
    )


def test_a_preprocessing_without_words_for_it_is_noted(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, "do_pad": True}))
    source = opened(folder)
    assert source.preprocessing is None
    (note,) = source.notes
    assert note.startswith("preprocessor_config.json has a step that cnntk can't express (do_pad: True), so")


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(CheckpointError, match=r"weights missing keys, .* first of .*another network"):
        opened(folder)


def test_damaged_weights_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="vit: its weights can't be loaded"):
        opened(folder)


def test_random_weights_for_a_folder(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="its weights can't be loaded"):
        opened(folder)
    assert opened(folder, random=True).labels == ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnt", {"random": True}, "model type of an image classifier; did you mean 'resnet'.*Nothing is"),
        ("bert", {"random": True}, "not a folder or a model type of an image classifier"),
        ("vit", {}, "transformers:vit: pass its weights .--weights FILE., or --random"),
        ("vit", {"random": True, "fields": {**VIT, "hidden_size": "many"}}, "transformers:vit: .*many"),
        ("vit", {"random": True, "input_shape": {"a": (1,), "b": (1,)}}, "transformers:vit takes one input"),
    ],
)  # fmt: skip
def test_refusals(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        opened(name, **options)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json, so not a folder that transformers wrote"):
        opened(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match="bert is not an image classifier of transformers"):
        opened(tmp_path)


EVIL = """
open({ran!r}, "w").close()
from transformers import ViTConfig, ViTForImageClassification

class Config(ViTConfig): pass

class Model(ViTForImageClassification): pass
"""


@pytest.mark.parametrize("model_type", ["vit", "evil"])
def test_a_folder_runs_no_code_of_its_own(
    folder: Path, tmp_path: Path, model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = tmp_path / "RAN"
    (folder / "evil.py").write_text(EVIL.format(ran=str(ran)))
    own = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"}
    config = json.loads((folder / "config.json").read_text()) | {"auto_map": own, "model_type": model_type}
    (folder / "config.json").write_text(json.dumps(config))
    if model_type == "vit":
        assert opened(folder).labels == ("cat", "dog", "owl")
    else:
        with pytest.raises(UsageError, match="transformers refuses its configuration"):
            opened(folder)
    assert not ran.exists()
    for module in (transformers.dynamic_module_utils, transformers.utils.hub):  # the negative control
        monkeypatch.setattr(module, "HF_MODULES_CACHE", str(tmp_path / "modules"), raising=False)
    with contextlib.suppress(OSError, ValueError):  # whatever follows after the file ran
        transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert ran.exists()


class Payload:
    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> Any:
        return Path.touch, (self.ran,)


def test_pickled_weights_run_no_code(folder: Path, tmp_path: Path) -> None:
    weights = folder / "pytorch_model.bin"
    torch.save({"a": Payload(tmp_path / "RAN")}, weights)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="its weights can't be loaded"):
        opened(folder)
    assert not (tmp_path / "RAN").exists()
    torch.load(weights, weights_only=False)  # the negative control
    assert (tmp_path / "RAN").exists()
