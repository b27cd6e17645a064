"""The self-test sees what it should: rates over random perturbations of real networks."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnntk.exporters.self_test_vectors import SELF_TEST_INPUTS, SelfTestInput, self_test_of
from cnntk.exporters.session import Arrays
from cnntk.models.checkpoint import load_checkpoint
from cnntk.runtime.artifact.self_test import run_self_test
from cnntk.runtime.artifact.spec import ModelSpec, TensorSpec
from cnntk.runtime.errors import ParityError

LENET = Path(__file__).parents[2] / "toolkit" / "shipped" / "lenet"


def image(*shape: int | str, dtype: str = "float32") -> tuple[TensorSpec, ...]:
    return (TensorSpec("input", dtype, ("N", *shape)),)


def batch_norm_network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(32, 10),
        )
        for _ in range(20):
            network(torch.randn(16, 3, 16, 16))
        for norm in (network[1], network[5]):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return network.eval()


def outputs(module: nn.Module, arrays: Arrays) -> Arrays:
    with torch.inference_mode():
        return {"logits": module(torch.from_numpy(arrays["input"])).numpy()}


def spec_of(module: nn.Module, inputs: tuple[TensorSpec, ...]) -> ModelSpec:
    wide = copy.deepcopy(module).double()
    test = self_test_of(
        lambda x: outputs(wide, {"input": x["input"].astype(np.float64)}),
        lambda x: outputs(module, x),
        specs=inputs,
    )
    return ModelSpec("m", (), inputs, self_test=test)


NETWORKS = {
    "lenet": lambda: (load_checkpoint(LENET).module.eval(), image(1, 28, 28)),
    "batch norm": lambda: (batch_norm_network(), image(3, 16, 16)),
}


def one_percent(parameter: torch.Tensor, rng: np.random.Generator) -> None:
    """Of a weight that is no smaller than half its tensor's root mean square."""
    flat = parameter.view(-1)
    large = torch.nonzero(flat.abs() >= 0.5 * flat.pow(2).mean().sqrt()).flatten()
    flat[large[rng.integers(len(large))]] *= 1.01


def swapped(parameter: torch.Tensor, rng: np.random.Generator) -> None:
    a, b = rng.choice(len(parameter), 2, replace=False)
    parameter[[a, b]] = parameter[[b, a]]


def shifted(parameter: torch.Tensor, rng: np.random.Generator) -> None:
    parameter += 0.01


def perturbed(module: nn.Module, kind: str, times: int) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network with one fault each, spread over its layers."""
    change = {"weight": one_percent, "swap": swapped, "bias": shifted}[kind]
    names = [n for n, p in module.named_parameters() if n.endswith("bias") == (kind == "bias")]
    rng = np.random.default_rng(0)
    for i in range(times):
        copied = copy.deepcopy(module)
        with torch.no_grad():
            change(copied.get_parameter(names[i % len(names)]), rng)
        yield names[i % len(names)], copied


@pytest.mark.parametrize(
    ("network", "kind", "least"),
    [
        ("lenet", "weight", 0.8),
        ("lenet", "swap", 1.0),
        ("lenet", "bias", 1.0),
        ("batch norm", "weight", 0.98),
        ("batch norm", "swap", 1.0),
        ("batch norm", "bias", 1.0),
    ],
)
@pytest.mark.slow
def test_faults_are_seen(network: str, kind: str, least: float) -> None:
    module, inputs = NETWORKS[network]()
    spec = spec_of(module, inputs)
    assert run_self_test(lambda x: outputs(module, x), spec, "m").holds
    seen = [
        not run_self_test(lambda x, m=m: outputs(m, x), spec, "m").holds
        for _, m in perturbed(module, kind, 200)
    ]
    print(f"{network}, {kind}: {sum(seen)} of {len(seen)}")
    assert np.mean(seen) >= least


@pytest.mark.parametrize("network", NETWORKS)
def test_another_order_of_sums_is_no_fault(network: str) -> None:
    """The same network with channels last, and each image alone, as another device might run it."""
    module, inputs = NETWORKS[network]()
    spec = spec_of(module, inputs)
    other = copy.deepcopy(module).to(memory_format=torch.channels_last)

    def alone(arrays: Arrays) -> Arrays:
        rows = [outputs(other, {"input": row[None]})["logits"] for row in arrays["input"]]
        return {"logits": np.concatenate(rows)}

    assert run_self_test(alone, spec, "m").holds


def test_large_outputs_are_thinned_and_the_spec_stays_small() -> None:
    inputs = image(3, 64, 64)
    test = self_test_of(
        lambda x: {"a": x["input"], "b": x["input"] * 2},
        lambda x: {"a": x["input"], "b": x["input"] * 2},
        specs=inputs,
    )
    assert test.strides == {"a": 89, "b": 89}
    spec = ModelSpec("m", (), inputs, self_test=test)
    assert len(spec.to_json().encode()) < 64_000
    assert run_self_test(lambda x: {"a": x["input"], "b": x["input"] * 2}, spec, "m").holds
    assert not run_self_test(lambda x: {"a": x["input"], "b": x["input"] * 2.001}, spec, "m").holds


def test_small_outputs_are_limited_by_their_scale() -> None:
    inputs = image(4)

    def tiny(factor: float) -> object:
        return lambda x: {"y": x["input"].astype(np.float64) * 1e-12 * factor}

    spec = ModelSpec("m", (), inputs, self_test=self_test_of(tiny(1.0), tiny(1.0), specs=inputs))
    assert run_self_test(tiny(1.0), spec, "m").holds
    assert not run_self_test(tiny(1.001), spec, "m").holds


def test_probabilities_are_tested_beside_logits() -> None:
    inputs = image(3)
    test = self_test_of(
        lambda x: {"logits": x["input"] * 9.0},
        lambda x: {"logits": x["input"] * 9},
        specs=inputs,
        probabilities=True,
    )
    sums = [sum(map(float, c.expected["probabilities"].split())) for c in test.cases]
    assert sums == pytest.approx([c.sizes["N"] for c in test.cases])
    assert all(0 < c.bounds["probabilities"] < 1e-4 for c in test.cases)


def test_free_sizes_and_other_inputs() -> None:
    inputs = image("H", "W", 3, dtype="uint8")
    shapes = []

    def look(arrays: Arrays) -> Arrays:
        shapes.append(arrays["input"].shape)
        return {"y": arrays["input"].mean(axis=(1, 2))}

    test = self_test_of(look, look, specs=inputs, sizes={"H": 5}, inputs=[SelfTestInput("ramp", 1, 3)])
    assert set(shapes) == {(3, 5, 32, 3)}
    assert test.cases[0].sizes == {"N": 3, "H": 5, "W": 32}
    json.dumps(test.cases[0].bounds)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(ParityError, match="y: the network's own output for noise is not finite"):
        self_test_of(lambda x: {"y": x["input"] * value}, lambda x: {"y": x["input"]}, specs=image(4))


def test_the_cases_hold_noise_and_structure() -> None:
    assert {case.pattern for case in SELF_TEST_INPUTS} == {"noise", "ramp", "constant"}
    assert {case.batch for case in SELF_TEST_INPUTS} == {1, 2}
