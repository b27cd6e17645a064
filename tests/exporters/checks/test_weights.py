"""Sound exports pass; each changed, missing or unexplained weight is named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from cnntk.exporters._prepare import prepare
from cnntk.exporters.artifact import write_graph
from cnntk.exporters.checks._candidate import Candidate
from cnntk.exporters.checks._weights import check_weights, check_written_weights
from cnntk.exporters.options import ExportOptions
from cnntk.exporters.passes.origins import Origin, describe_origins, set_origin
from cnntk.exporters.sources import open_source
from cnntk.runtime.artifact.spec import Preprocessing
from cnntk.runtime.errors import ExportCheckError


class Layers(nn.Module):
    """Linear layers of each kind, and what folds into them, before and after; a dead ReLU at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, groups=3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(6), nn.BatchNorm2d(8), nn.BatchNorm1d(8)])
        self.up = nn.ConvTranspose2d(6, 8, 2, groups=2)
        self.dead = nn.Linear(8, 4)
        self.head = nn.Linear(8, 5)
        nn.init.constant_(self.dead.bias, -1e3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (self.norms[0](self.first(x)) / 3 - 0.5).relu()
        x = (self.norms[1](self.up(x)) * 0.7 + 0.2).relu().mean(dim=(2, 3))
        alive = self.head(self.norms[2](x))
        return torch.cat([alive, self.dead(x).relu()], dim=1)


class Chain(nn.Module):
    """Chains of each form, and shared weights of which the graph has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 2, 1))
        self.flat = nn.Sequential(nn.Conv2d(2, 8, 3, stride=2, padding=1), nn.Flatten(), nn.Linear(72, 6))
        self.dense = nn.Sequential(nn.Linear(6, 3), nn.Linear(3, 64), nn.Linear(64, 5))
        self.twin = nn.Linear(5, 5)
        self.twin.weight = nn.Parameter(torch.eye(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dense(self.flat(self.wide(x).relu()).relu()).relu()
        return self.twin(self.twin(x).relu())


def trained(network: nn.Module) -> nn.Module:
    """The network with batch statistics that are no identity."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.running_var):
                nn.init.uniform_(tensor, 0.5, 2, generator=generator)
            for tensor in (module.bias, module.running_mean):
                nn.init.normal_(tensor, generator=generator)
    return network.eval()


def candidate_for(network: nn.Module, *shape: int, **options: object) -> Candidate:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        chosen = ExportOptions(input_shape=shape or (3, 8, 8), **options)  # type: ignore[arg-type]
        return prepare(open_source(network, chosen), chosen).candidate


@pytest.fixture(scope="module")
def layers() -> Candidate:
    return candidate_for(trained(Layers()))


def changed(candidate: Candidate, name: str, change: Callable[[np.ndarray], None]) -> Candidate:
    """The candidate with another weight of this name; the tensor in memory stays."""
    model = candidate.interface.model.clone()
    value = model.graph.initializers[name]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    change(array)
    value.const_value = ir.Tensor(array, name=name)
    return replace(candidate, interface=replace(candidate.interface, model=model))


def flip(*index: int, bit: int = 0) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array.view(np.uint32)[index] ^= 1 << bit

    return change


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(192, 100), nn.Linear(100, 10), nn.BatchNorm1d(10), nn.Linear(10, 4)
    )


@pytest.mark.parametrize(
    ("build", "dtype", "computed"),
    [(Chain, "float32", 6), (Layers, "float16", 6), (dense, "float16", 2), (dense, "float64", 2)],
)
def test_each_weight_of_a_sound_export_is_accounted_for(
    build: Callable[[], nn.Module], dtype: str, computed: int
) -> None:
    check = check_weights(candidate_for(trained(build()), dtype=dtype))
    assert f"{computed} computed" in check.detail


def test_counts(layers: Candidate) -> None:
    assert check_weights(layers).detail == (
        "2 equal to the source's to the bit, 6 computed from the source's in float64, "
        "1 of the program and the preprocessing"
    )


def test_origins_in_words(layers: Candidate) -> None:
    origins = describe_origins(layers.interface.model)
    assert origins["norms.2, head (batch norm, before layer)"] == ["head.*"]
    assert origins["program, norms.0, first (arithmetic, batch norm, after layer)"]
    assert not any("dead" in name for names in origins.values() for name in names)


@pytest.mark.parametrize("bit", [12, 23, 31])
@pytest.mark.parametrize("name", ["first.weight", "first.bias", "up.weight", "up.bias", "head.weight"])
def test_one_bit_of_a_folded_weight(layers: Candidate, name: str, bit: int) -> None:
    last = tuple(int(d) - 1 for d in layers.interface.model.graph.initializers[name].shape or ())
    with pytest.raises(ExportCheckError, match=rf"weight {name}\[{', '.join(map(str, last))}\].*expected"):
        check_weights(changed(layers, name, flip(*last, bit=bit)))


def test_the_lowest_bit_of_a_weight_that_was_rounded_once(layers: Candidate) -> None:
    with pytest.raises(ExportCheckError, match=r"weight head\.weight\[1, 1\].* 1 of 40 elements"):
        check_weights(changed(layers, "head.weight", flip(1, 1, bit=1)))


def test_one_bit_of_one_weight_of_25_000() -> None:
    candidate = candidate_for(nn.Sequential(nn.Flatten(), nn.Linear(25_000, 3)).eval(), 1, 100, 250)
    check_weights(candidate)
    with pytest.raises(ExportCheckError, match=r"weight 1\.weight\[2, 24321\].* 1 of 75000 elements"):
        check_weights(changed(candidate, "1.weight", flip(2, 24_321)))


def test_a_weight_behind_a_unit_that_never_fires(layers: Candidate) -> None:
    def bend(array: np.ndarray) -> None:
        array[2, 5] *= 1.01

    with pytest.raises(ExportCheckError, match=r"weight dead\.weight\[2, 5\].*the source's dead\.weight"):
        check_weights(changed(layers, "dead.weight", bend))


def test_a_pruned_channel(layers: Candidate) -> None:
    def prune(array: np.ndarray) -> None:
        array[1] = 0

    with pytest.raises(ExportCheckError, match=r"weight up\.weight\[1, 0, 0, 0\]: 0, expected"):
        check_weights(changed(layers, "up.weight", prune))


def test_a_negative_zero_is_another_number() -> None:
    network = nn.Linear(4, 2).eval()
    nn.init.zeros_(network.weight)
    candidate = candidate_for(network, 4)
    with pytest.raises(ExportCheckError, match="other bits than the source's weight"):
        check_weights(changed(candidate, "weight", flip(1, 1, bit=31)))


def test_a_wrong_batch_norm_fold(layers: Candidate) -> None:
    """The statistics of another channel order, as a wrong axis would use."""

    def fold(array: np.ndarray) -> None:
        array[:] = array[:, ::-1]

    with pytest.raises(ExportCheckError, match=r"up\.weight, .*by .*batch norm.*after layer"):
        check_weights(changed(layers, "up.weight", fold))


def test_a_weight_of_unknown_origin(layers: Candidate) -> None:
    model = layers.interface.model.clone()
    weight = ir.Value(name="new", const_value=ir.tensor(np.ones(3, np.float32), name="new"))
    model.graph.register_initializer(weight)
    candidate = replace(layers, interface=replace(layers.interface, model=model))
    with pytest.raises(ExportCheckError, match="weight new: no pass recorded what it is made of"):
        check_weights(candidate)
    set_origin(weight, Origin("source", "new"))
    with pytest.raises(ExportCheckError, match="weight new: the source has no tensor new"):
        check_weights(candidate)


def test_a_parameter_that_does_not_reach_the_graph(layers: Candidate) -> None:
    model = layers.interface.model.clone()
    del model.graph.initializers["dead.bias"]
    with pytest.raises(ExportCheckError, match=r"parameter dead\.bias: the network uses it, but no weight"):
        check_weights(replace(layers, interface=replace(layers.interface, model=model)))


def test_neutral_and_unused_parameters_need_not_reach_the_graph() -> None:
    class Neutral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.shift = nn.Parameter(torch.ones(6)), nn.Parameter(torch.zeros(6))
            self.layer, self.unused = nn.Linear(6, 3), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer((x * self.scale + self.shift).relu())

    assert "2 equal" in check_weights(candidate_for(Neutral().eval(), 6)).detail


def test_a_constant_expression_of_parameters() -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.direction, self.length = nn.Parameter(torch.randn(5, 6)), nn.Parameter(torch.rand(5, 1))
            self.register_buffer("order", torch.randn(6, 4), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            unit = self.direction / self.direction.norm(dim=1, keepdim=True)
            return torch.cat([x @ (unit * self.length).T, x @ self.order.flip(0)], dim=1)

    candidate = candidate_for(Normalized().eval(), 6)
    check_weights(candidate)
    for name, value in candidate.interface.model.graph.initializers.items():
        if value.dtype is ir.DataType.FLOAT and value.shape is not None and len(value.shape) == 2:
            with pytest.raises(ExportCheckError, match=rf"weight {name}\[3, 1\]"):
                check_weights(changed(candidate, name, flip(3, 1, bit=18)))


@pytest.mark.parametrize("invert", ["never", "always", "light-background"])
def test_the_normalization_in_the_first_layer(invert: str) -> None:
    p = Preprocessing(
        color="rgb",
        height=8,
        width=8,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.4),
        invert=invert,  # type: ignore[arg-type]
    )
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 3)).eval()
    options = ExportOptions(input_shape=(3, 8, 8))
    candidate = prepare(replace(open_source(network, options), preprocessing=p), options).candidate
    check_weights(candidate)
    wrong = replace(p, mean=(0.4, 0.5, 0.61))
    with pytest.raises(ExportCheckError, match=r"weight .*(normalization|preprocess/)"):
        check_weights(replace(candidate, interface=replace(candidate.interface, preprocessing=wrong)))


def test_a_file_with_other_bytes(layers: Candidate, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    write_graph(layers.interface.model, file)
    check_written_weights(replace(layers, file=file))
    write_graph(changed(layers, "head.weight", flip(0, 0)).interface.model, file)
    with pytest.raises(ExportCheckError, match=r"weight head\.weight: the written file has other bytes"):
        check_written_weights(replace(layers, file=file))


def test_a_foreign_graph_keeps_its_weights(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    file = tmp_path / "foreign.onnx"
    module = trained(network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (torch.zeros(2, 3, 8, 8),),
            file,
            dynamo=True,
            external_data=False,
            verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    options = ExportOptions()
    candidate = prepare(open_source(str(file), options), options).candidate
    assert "5 equal" in check_weights(candidate).detail
    name = next(n for n in candidate.interface.model.graph.initializers if n.endswith("4.weight"))
    with pytest.raises(ExportCheckError, match=r"the source's .*4\.weight"):
        check_weights(changed(candidate, name, flip(1, 1)))
