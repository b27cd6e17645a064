from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters import export
from cnntk.exporters.checks._capture import compare_module_output, module_outputs
from cnntk.exporters.checks._inputs import CheckInputs
from cnntk.exporters.checks.reference import Outputs
from cnntk.runtime.errors import ParityError

LOGITS = np.array([[1.0, 2.0, 3.0], [150.0, 170.0, 200.0], [-4.0, 0.0, 200.0]])
INPUTS = CheckInputs(("noise", "white", "ramp"), {"x": np.zeros((3, 3), np.float32)}, (1,))
EXPECTED = Outputs(INPUTS, {"logits": LOGITS}, {"logits": LOGITS}, {"logits": np.array([1e-5, 1e-3, 1e-3])})
NETWORK = nn.Linear(3, 3)


def within_bounds(name: str, tensor: torch.Tensor) -> list[bool]:
    result = compare_module_output(name, tensor, EXPECTED, NETWORK)
    return (result.errors <= result.bounds).tolist()


EXACT = torch.from_numpy(LOGITS)
ENDINGS = {"logits": EXACT, "Softmax": EXACT.softmax(1), "LogSoftmax": EXACT.log_softmax(1)}


@pytest.mark.parametrize("name", ENDINGS)
def test_each_ending_is_compared_with_the_logits(name: str) -> None:
    assert within_bounds(name, ENDINGS[name].float()) == [True, True, True]
    assert within_bounds(name, ENDINGS[name][:1].float()) == [True]
    assert within_bounds(name, ENDINGS[name].float() * 1.001)[0] is False
    assert within_bounds(name, ENDINGS[name].flip(1).float())[:2] == [False, False]


def test_a_softmax_by_hand_may_overflow_and_lose_digits() -> None:
    naive = EXACT.float().exp() / EXACT.float().exp().sum(1, keepdim=True)
    assert naive.isnan().any()
    assert within_bounds("Softmax", naive) == [True, True, True]
    assert EXACT.float().softmax(1).log().isinf().any()
    assert within_bounds("LogSoftmax", EXACT.float().softmax(1).log()) == [True, True, True]
    wrong = naive.clone()
    wrong[0, 0] += 0.01
    assert within_bounds("Softmax", wrong) == [False, True, True]


def test_nan_is_no_answer_where_there_is_no_softmax() -> None:
    assert within_bounds("logits", EXACT.float() * torch.tensor([1, torch.nan, 1])) == [False, False, False]


def test_unknown_outputs_are_not_compared() -> None:
    assert compare_module_output("", EXACT, EXPECTED, NETWORK) is None
    assert compare_module_output("maps", EXACT, EXPECTED, NETWORK) is None


def test_a_module_that_changes_its_input_in_place_leaves_the_checks_inputs_alone(tmp_path: Path) -> None:
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, 5))
    arrays = {"input": np.full((2, 3, 8, 8), -1, np.float32)}
    module_outputs(network, arrays)
    assert (arrays["input"] == -1).all()
    assert export(network, tmp_path / "m.onnx", input_shape=(3, 8, 8)).head == "classifier"


class ByHand(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.log(torch.sigmoid(x.mean((2, 3)) * 1000))


def test_a_module_that_overflows_itself_is_refused_for_that(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"the module returns NaN or infinity .*F\.logsigmoid"):
        export(ByHand(), tmp_path / "m.onnx", input_shape=(3, 8, 8))


class Specialized(nn.Module):
    """Answers something else where it is captured."""

    def __init__(self, ending: nn.Module, factor: float) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(192, 5)
        self.ending, self.factor = ending, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits = self.layer(x.flatten(1))
        return self.ending(logits * self.factor if torch.compiler.is_exporting() else logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    "ending", [nn.Identity(), nn.Softmax(1), nn.LogSoftmax(1)], ids=["plain", "p", "log p"]
)
def test_a_wrong_capture_is_detected_behind_a_softmax(
    tmp_path: Path, ending: nn.Module, dtype: torch.dtype
) -> None:
    path = tmp_path / "m.onnx"
    assert export(Specialized(ending, 1.0).eval().to(dtype), path, input_shape=(3, 8, 8), force=True).parity
    with pytest.raises(ParityError, match="the program that torch captured differs from the module"):
        export(Specialized(ending, 1.1).eval().to(dtype), path, input_shape=(3, 8, 8), force=True)
