"""What networks return, from end to end: distributions, several outputs, other axes, ill-conditioned ones."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters import ExportReport, export
from cnntk.runtime import Engine
from cnntk.runtime.errors import ParityError


class Net(nn.Module):
    """A small network whose outputs ``answer`` computes from its logits and features."""

    def __init__(self, answer: Callable, gain: float = 9.0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)
        self.answer, self.gain = answer, gain

    def forward(self, x: torch.Tensor) -> object:
        features = self.conv(x).relu().mean((2, 3))
        return self.answer(self.fc(features) * self.gain, features)


X = np.random.default_rng(0).random((3, 3, 16, 16)).astype(np.float32)


def exported(module: nn.Module, path: Path, **options: object) -> tuple[ExportReport, dict[str, np.ndarray]]:
    options = {"input_shape": (3, 16, 16), **options}
    report = export(module, path / "m.onnx", **options)
    return report, Engine(path / "m.onnx").run({"input": X})


def module_output(module: nn.Module) -> object:
    with torch.inference_mode():
        return module.eval()(torch.from_numpy(X))


def test_a_mixture_of_softmaxes_is_the_probabilities(tmp_path: Path) -> None:
    module = Net(lambda z, f: 0.7 * z.softmax(1) + 0.3 * (z / 2).softmax(1))
    report, outputs = exported(module, tmp_path)
    assert report.head == "classifier"
    np.testing.assert_allclose(outputs["probabilities"], module_output(module), atol=1e-6)
    np.testing.assert_allclose(np.exp(outputs["logits"]), module_output(module), atol=1e-6)


@dataclass
class Answer:
    loss: torch.Tensor | None
    logits: torch.Tensor
    hidden_states: tuple[torch.Tensor, ...]


torch.export.register_dataclass(Answer)


def test_logits_among_other_outputs(tmp_path: Path) -> None:
    module = Net(lambda z, f: Answer(None, z, (f, (f * 2, f * 3))))
    report, outputs = exported(module, tmp_path)
    assert report.head == "classifier"
    assert list(outputs) == ["logits", "probabilities", "hidden_states", "hidden_states_1", "hidden_states_2"]
    answer = module_output(module)
    np.testing.assert_allclose(outputs["probabilities"], answer.logits.softmax(1), atol=1e-6)
    np.testing.assert_allclose(outputs["hidden_states_2"], answer.hidden_states[1][1], atol=1e-5)


def test_probabilities_that_are_no_softmax_of_the_logits(tmp_path: Path) -> None:
    module = Net(lambda z, f: {"logits": z, "probabilities": z.sigmoid()})
    report, outputs = exported(module, tmp_path)
    assert report.head == "none"
    np.testing.assert_allclose(outputs["probabilities"], module_output(module)["probabilities"], atol=1e-6)


class Recognizer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.fc = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).mean(2).permute(2, 0, 1)).log_softmax(2)


def test_the_batch_may_be_the_second_axis(tmp_path: Path) -> None:
    report, outputs = exported(Recognizer(), tmp_path)
    assert report.head == "none"
    assert outputs["output"].shape == (16, 3, 11)
    np.testing.assert_allclose(outputs["output"], module_output(Recognizer()), atol=1e-5)


def test_an_answer_in_the_second_axis_that_mixes_images_is_refused(tmp_path: Path) -> None:
    class Mixed(Recognizer):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = super().forward(x)
            return y - y.mean(1, keepdim=True)

    with pytest.raises(Exception, match="with the rest of the batch"):
        exported(Mixed(), tmp_path)


class GroupNormed(nn.Module):
    """Shifts are small, as trained ones are: on flat images the variance in a group is nearly 0."""

    def __init__(self, seed: int, channels: int = 32) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, channels, 3, 2, 1, bias=False)
            self.blocks = nn.ModuleList(
                nn.Sequential(
                    nn.GroupNorm(8, channels), nn.ReLU(), nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
                )
                for _ in range(8)
            )
            self.norm, self.fc = nn.GroupNorm(8, channels), nn.Linear(channels, 10)
            for m in self.modules():
                if isinstance(m, nn.GroupNorm):
                    nn.init.normal_(m.bias, std=0.05)
                    nn.init.uniform_(m.weight, 0.7, 1.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.fc(self.norm(x).relu().mean((2, 3)))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_norm_that_amplifies_rounding_on_flat_images_is_sound(tmp_path: Path, seed: int) -> None:
    report = export(GroupNormed(seed), tmp_path / "m.onnx", input_shape=(3, 64, 64))
    noise = [p for p in report.parity if p.kind == "noise" and p.output == "logits"]
    assert all(p.bound < 2e-5 * p.scale for p in noise)  # flat images do not widen it


@pytest.mark.parametrize("seed", range(6))
def test_small_regressors_are_sound(tmp_path: Path, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)
        )
    assert export(module, tmp_path / "m.onnx", input_shape=(3, 64, 64)).head == "none"


def test_sums_over_thousands_of_classes_are_sound(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 16, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5000))
    report, _ = exported(module, tmp_path)
    assert report.head == "classifier"


class Amplifies(nn.Module):
    """A norm without an eps to speak of, over what is nearly constant, on every image."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.fc = nn.Linear(3 * 16 * 16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.fc(x.flatten(1)) * 1e-4 + 100
        return nn.functional.layer_norm(y, (5,), eps=1e-12)


def test_a_network_that_amplifies_rounding_everywhere_needs_a_tolerance(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"rounding changes it by up to .* --tolerance") as error:
        exported(Amplifies(), tmp_path)
    tolerance = float(str(error.value).split("--tolerance ")[1].split(".")[0] + ".99")
    report, _ = exported(Amplifies(), tmp_path, tolerance=tolerance)
    assert any(check.name == "conditioning" for check in report.checks)


def test_an_image_whose_output_cancels_to_nothing_widens_no_limit(tmp_path: Path) -> None:
    class Normalized(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            dims = (1, 2, 3)
            x = (x - x.mean(dims, keepdim=True)) / (x.std(dims, keepdim=True) + 1e-5)
            return x.mean((2, 3))

    report, _ = exported(Normalized(), tmp_path)
    noise = [p for p in report.parity if p.kind == "noise" and p.output == "logits"]
    assert all(p.bound < 1e-4 * p.scale for p in noise)


OTHER_OUTPUTS = {
    "a constant": (lambda z, f: {"logits": z, "anchors": torch.arange(6.0).view(3, 2)}, "classifier"),
    "several rows an image": (lambda z, f: z.view(-1, 1).repeat(1, 3), "none"),
    "one row for all": (lambda z, f: z.flatten(), "none"),
    "an average of log-softmaxes": (
        lambda z, f: (z.log_softmax(1) + f[:, :5].log_softmax(1)) / 2,
        "classifier",
    ),
    "clipped probabilities": (lambda z, f: z.softmax(1).clamp(1e-3, 0.999), "classifier"),
}


@pytest.mark.parametrize(("answer", "head"), OTHER_OUTPUTS.values(), ids=OTHER_OUTPUTS.keys())
def test_outputs_of_other_kinds(tmp_path: Path, answer: Callable, head: str) -> None:
    module = Net(answer)
    report, outputs = exported(module, tmp_path)
    assert report.head == head
    answers = module_output(module)
    expected = answers if isinstance(answers, dict) else {"output": answers}
    for name, array in expected.items():
        if name in outputs:
            np.testing.assert_allclose(outputs[name], array, rtol=1e-4, atol=1e-4)


def test_a_class_that_is_masked_has_no_infinite_logit(tmp_path: Path) -> None:
    mask = torch.tensor([0, -torch.inf, 0, 0, 0])
    module = Net(lambda z, f: (z + mask).softmax(1))
    _, outputs = exported(module, tmp_path)
    assert np.isfinite(outputs["logits"]).all()
    np.testing.assert_allclose(outputs["probabilities"], module_output(module), atol=1e-6)


def test_a_head_on_a_map_of_one_pixel_is_flattened_on_request(tmp_path: Path) -> None:
    module = Net(lambda z, f: z[:, :, None, None].softmax(1))
    report, outputs = exported(module, tmp_path, head="classifier")
    assert report.head == "classifier"
    np.testing.assert_allclose(outputs["probabilities"], module_output(module)[:, :, 0, 0], atol=1e-6)


def test_a_weight_that_is_computed_and_scaled_is_accounted_for(tmp_path: Path) -> None:
    class Cosine(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            features = self.conv(x).relu().mean((2, 3))
            weight = nn.functional.normalize(self.fc.weight)
            return 16 * nn.functional.linear(nn.functional.normalize(features), weight)

    report, outputs = exported(Cosine(lambda z, f: z), tmp_path)
    assert report.head == "classifier"
    np.testing.assert_allclose(outputs["logits"], module_output(Cosine(lambda z, f: z)), atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_norms_of_single_channels_are_sound(tmp_path: Path, seed: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(3, 16, 3),
            nn.GroupNorm(1, 16),
            nn.SiLU(),
            nn.Conv2d(16, 16, 3),
            nn.GroupNorm(16, 16),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 5),
        )
    exported(module, tmp_path)
