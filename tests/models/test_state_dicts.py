"""Which state dict of a checkpoint is loaded: its key, its prefix, moving averages, and what is ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cnntk.models.weights import LoadedWeights, load_weights
from cnntk.runtime.errors import CheckpointError

State = dict[str, Any]


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


class Lightning(nn.Module):
    def __init__(self, model: nn.Module, average: bool) -> None:
        super().__init__()
        self.model, self.criterion = model, nn.CrossEntropyLoss(torch.ones(3))
        if average:
            self.ema_model = averaged(network(7))


def averaged(model: nn.Module) -> AveragedModel:
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))


def loaded(content: Any, tmp_path: Path, key: str = "") -> tuple[nn.Module, LoadedWeights]:
    torch.save(content, tmp_path / "best.ckpt")
    module = network(99)
    result = load_weights(module, f"{tmp_path}/best.ckpt{key and '#'}{key}")
    return module, result


def assert_has_weights_of(module: nn.Module, seed: int) -> None:
    torch.testing.assert_close(module.state_dict(), network(seed).state_dict(), rtol=0, atol=0)


def training(model: nn.Module) -> State:
    """Optimizer and counters as training code stores them beside the weights."""
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, 1, 4, 4)).sum().backward()
    optimizer.step()
    return {"optimizer": optimizer.state_dict(), "epoch": 3, "best": 0.5}


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "ema", "net", "weights", "a.b"])
def test_the_key_is_found_and_named(tmp_path: Path, key: str) -> None:
    outer, _, inner = key.partition(".")
    state: State = network(1).state_dict()
    content = {**training(network(2)), outer: {inner: state} if inner else state}
    module, result = loaded(content, tmp_path)
    assert_has_weights_of(module, 1)
    average = ", a moving average" if key == "ema" else ""
    assert result == LoadedWeights("best.ckpt", (f"weights of best.ckpt: those under {key!r}{average}",))


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "backbone.net."])
def test_a_prefix_is_removed_and_named(tmp_path: Path, prefix: str) -> None:
    module, result = loaded({prefix + k: v for k, v in network(1).state_dict().items()}, tmp_path)
    assert_has_weights_of(module, 1)
    assert result.notes == (f"weights of best.ckpt: the prefix {prefix!r} is removed",)


def test_real_wrappers(tmp_path: Path) -> None:
    for wrapped in (
        torch.compile(network(1), backend="eager"),
        nn.DataParallel(network(1)),
        averaged(network(1)),
    ):
        module, result = loaded(wrapped.state_dict(), tmp_path)
        assert_has_weights_of(module, 1)
        assert "is removed" in result.notes[0]


def test_a_compiled_part_of_a_network(tmp_path: Path) -> None:
    compiled = network(1)
    compiled[0] = torch.compile(compiled[0], backend="eager")  # type: ignore[call-overload]
    assert "0._orig_mod.weight" in compiled.state_dict()
    module, result = loaded(compiled.state_dict(), tmp_path)
    assert_has_weights_of(module, 1)
    assert result.notes == ("weights of best.ckpt: names are translated to the network's",)


def test_a_lightning_checkpoint(tmp_path: Path) -> None:
    content = {"state_dict": Lightning(network(1), average=False).state_dict(), "loops": {"fit": {"n": 1}}}
    module, result = loaded(content, tmp_path)
    assert_has_weights_of(module, 1)
    assert result.notes == (
        "weights of best.ckpt: those under 'state_dict'; the prefix 'model.' is removed; "
        "ignored, because the network does not have them: 'criterion.weight'",
    )


def test_a_moving_average_is_taken_and_the_other_is_named(tmp_path: Path) -> None:
    content = {"state_dict": Lightning(network(1), average=True).state_dict()}
    module, result = loaded(content, tmp_path)
    assert_has_weights_of(module, 7)
    assert result.file == "best.ckpt#state_dict.ema_model.module"
    assert "would fit too (--weights" in result.notes[0]
    module, result = loaded(content, tmp_path, "state_dict.model")
    assert_has_weights_of(module, 1)
    assert result.file == "best.ckpt#state_dict.model"


@pytest.mark.parametrize(("key", "seed"), [("", 2), ("model", 1), ("ema", 2)])
def test_the_user_chooses_between_weights_and_average(tmp_path: Path, key: str, seed: int) -> None:
    content = {"model": network(1).state_dict(), "ema": averaged(network(2)).state_dict()}
    module, result = loaded(content, tmp_path, key)
    assert_has_weights_of(module, seed)
    assert ("a moving average" in result.notes[0]) is (seed == 2)


def test_several_without_an_order_are_refused(tmp_path: Path) -> None:
    content = {"student": network(1).state_dict(), "teacher": network(2).state_dict()}
    with pytest.raises(CheckpointError, match=r"several .* fit: 'student', 'teacher'; choose one, like #stu"):
        loaded(content, tmp_path)
    assert_has_weights_of(loaded(content, tmp_path, "teacher")[0], 2)
    with pytest.raises(CheckpointError, match="no state dict 'ema' in it; it contains 'student', 'teacher'"):
        loaded(content, tmp_path, "ema")
    content["teacher"] = {k: v.clone() for k, v in content["student"].items()}
    assert_has_weights_of(loaded(content, tmp_path)[0], 1)  # the same weights: no choice


def test_of_several_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    content = {"generator": nn.Linear(2, 2).state_dict(), "discriminator": network(1).state_dict()}
    module, result = loaded(content, tmp_path)
    assert_has_weights_of(module, 1)
    assert result.file == "best.ckpt"


def test_numbers_beside_the_weights_are_ignored_and_named(tmp_path: Path) -> None:
    numbers = {"n_averaged": torch.tensor(5), "0.total_ops": torch.zeros(1), "steps": 7}
    module, result = loaded({**network(1).state_dict(), **numbers}, tmp_path)
    assert_has_weights_of(module, 1)
    assert "ignored, because the network does not have them: 'n_averaged', '0.total_ops'" in result.notes[0]


def test_counters_of_old_files_may_be_missing(tmp_path: Path) -> None:
    state = {k: v for k, v in network(1).state_dict().items() if "num_batches" not in k}
    assert_has_weights_of(loaded(state, tmp_path)[0], 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": None}, r"tensor '0.weight' is missing; the nearest names .* '0\.weights', .*, "),
        ({"3.weight": torch.zeros(3, 9)}, r"tensor '3.weight' is real \(3, 9\), the network has real"),
        ({"4.weight": torch.zeros(2, 2)}, "tensor '4.weight' is unexpected"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_does_not_fit_is_named_behind_its_prefix(
    tmp_path: Path, change: State, message: str, prefix: str
) -> None:
    state = {**network(1).state_dict(), **change}
    if state["0.weight"] is None:
        state |= {"0.weights": torch.zeros(1, 1), "1.gain": torch.zeros(2, 2), "9.bias": torch.zeros(3, 3)}
    content = {prefix + k: v for k, v in state.items() if v is not None}
    with pytest.raises(CheckpointError, match=message):
        loaded({"model": content}, tmp_path)


@pytest.mark.parametrize("content", [{1: torch.zeros(2)}, {"a": {2: torch.zeros(2)}}, {}])
def test_a_file_without_names_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(CheckpointError, match=r"tensor '0.weight' \(and \d more\) is missing"):
        loaded(content, tmp_path)


def test_names_that_torch_save_keeps_may_be_damaged(tmp_path: Path) -> None:
    state = network(1).state_dict()
    for metadata in (5, {"": 5, "0": None}):
        state._metadata = metadata
        assert_has_weights_of(loaded(state, tmp_path)[0], 1)
