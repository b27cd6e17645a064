import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, spectral_norm

from cnntk.exporters.sources._evaluation import cast_weights, to_eval_mode
from cnntk.runtime.errors import UsageError

IMAGE = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)


def old_weight_norm(module: nn.Module) -> nn.Module:
    from torch.nn.utils import weight_norm

    with pytest.warns(FutureWarning, match="weight_norm"):
        return weight_norm(module)


NORMS = {
    "weight norm, old": old_weight_norm,
    "weight norm": parametrizations.weight_norm,
    "spectral norm, old": spectral_norm,
    "spectral norm": parametrizations.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
}


def answer(module: nn.Module) -> torch.Tensor:
    return module(IMAGE)["output"]


@pytest.mark.parametrize("norm", NORMS)
def test_norms_become_plain_weights_and_the_users_module_is_not_changed(norm: str) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), NORMS[norm](nn.Linear(192, 4)))
    module.train()(IMAGE)  # leaves behind a weight that torch refuses to copy
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    twin = to_eval_mode(module)
    assert sorted(twin.state_dict()) == ["1.bias", "1.weight"]
    assert type(twin[1]) is nn.Linear
    torch.testing.assert_close(answer(twin), module.eval()(IMAGE), rtol=1e-5, atol=1e-6)
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in state.items())
    module.train()(IMAGE).sum().backward()  # still trains
    assert all(p.grad is not None for p in module.parameters())


def test_a_bias_and_a_weight_that_are_both_parametrised() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 2

    layer = nn.Linear(192, 2)
    for name in ("weight", "bias"):
        parametrize.register_parametrization(layer, name, Twice())
    module = nn.Sequential(nn.Flatten(), layer)
    twin = to_eval_mode(module)
    assert not parametrize.is_parametrized(twin[1])
    assert parametrize.is_parametrized(layer)
    torch.testing.assert_close(answer(twin), module(IMAGE))


def test_weights_are_shared_and_not_copied() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    twin = to_eval_mode(module)
    for name, tensor in module.state_dict().items():
        assert twin.state_dict()[name].data_ptr() == tensor.data_ptr()
    twin.double()
    assert module[0].weight.dtype is torch.float32


def test_tied_weights_stay_tied() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 192), nn.Linear(192, 192))
    module[2].weight = module[1].weight
    twin = to_eval_mode(module)
    assert twin[1].weight is twin[2].weight


def test_everything_is_in_evaluation_mode_and_flags_come_back() -> None:
    class Stubborn(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def train(self, mode: bool = True) -> "Stubborn":
            return self  # never leaves training mode

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.drop(x)

    module = nn.Sequential(Stubborn(), nn.Dropout(0.5), nn.BatchNorm2d(3)).train()
    module[1].training = False
    flags = [part.training for part in module.modules()]
    twin = to_eval_mode(module)
    assert not any(part.training for part in twin.modules())
    torch.testing.assert_close(answer(twin), answer(twin), rtol=0, atol=0)
    assert [part.training for part in module.modules()] == flags


def test_hooks_run_on_the_copy_and_the_module_gets_none() -> None:
    module = nn.Sequential(nn.Identity())
    module[0].register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    module.register_forward_hook(lambda m, args, out: out * 2)
    hooks = len(module._forward_hooks)
    torch.testing.assert_close(answer(to_eval_mode(module)), (IMAGE + 1) * 2)
    assert len(module._forward_hooks) == hooks
    assert isinstance(module(IMAGE), torch.Tensor)


def test_channels_last_becomes_contiguous() -> None:
    module = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    twin = to_eval_mode(module)
    assert twin.weight.is_contiguous()
    assert not module.weight.is_contiguous()
    torch.testing.assert_close(answer(twin), module(IMAGE))


def test_what_can_not_be_copied_is_shared() -> None:
    class Guarded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lock, self.fc = threading.Lock(), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with self.lock:
                return self.fc(x)

    module = nn.Sequential(Guarded())
    twin = to_eval_mode(module)
    assert twin[0].lock is module[0].lock
    assert twin[0].fc is not module[0].fc
    torch.testing.assert_close(answer(twin), module(IMAGE))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_wrappers_are_removed() -> None:
    module = nn.Conv2d(3, 4, 3)
    for shell in (nn.DataParallel(module), torch.compile(module), torch.compile(nn.DataParallel(module))):
        assert sorted(to_eval_mode(shell).state_dict()) == ["bias", "weight"]


def test_a_second_time_changes_nothing() -> None:
    module = nn.Conv2d(3, 4, 3)
    torch.testing.assert_close(answer(to_eval_mode(to_eval_mode(module))), module(IMAGE))


def test_what_has_no_weights_yet_is_refused() -> None:
    with pytest.raises(UsageError, match=r"Sequential: '0\.weight' is lazy and has no shape yet; run the"):
        to_eval_mode(nn.Sequential(nn.LazyLinear(3)))
    with pytest.raises(UsageError, match="Linear: 'weight' is on the meta device and has no values"):
        to_eval_mode(nn.Linear(3, 4, device="meta"))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused() -> None:
    with pytest.raises(UsageError, match=r"is TorchScript, which can't be captured; pass the nn\.Module"):
        to_eval_mode(torch.jit.script(nn.Conv2d(3, 4, 3)))


class Holder(nn.Module):
    """Holds tensors and types everywhere but in parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.tied = self.layer
        self.plain = torch.ones(4)
        self.original = {"a": [torch.ones(2)], "n": torch.arange(3)}
        self.kind = torch.float32

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.to(self.kind)) + self.plain + self.original["a"][0].sum()


def test_a_cast_reaches_every_tensor_and_type_and_leaves_the_users_alone() -> None:
    module = Holder().eval()
    cast = cast_weights(module, {torch.float32: torch.float16})
    assert cast(torch.ones(1, 4)).dtype is torch.float16
    assert (cast.kind, cast.plain.dtype, cast.original["a"][0].dtype) == (torch.float16,) * 3
    assert cast.original["n"].dtype is torch.int64
    assert cast.tied is cast.layer
    assert module(torch.ones(1, 4)).dtype is torch.float32
    assert (module.kind, module.original["a"][0].dtype) == (torch.float32,) * 2
    same = cast_weights(module, {torch.float64: torch.float32})
    assert same.layer.weight.data_ptr() == module.layer.weight.data_ptr()
