"""The network of `make demo`."""

from pathlib import Path

import torch

from cnntk.models.factory import construct

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_it_has_a_logit_per_class_at_any_size() -> None:
    module = construct(f"{EXAMPLES / 'residual_net.py'}:residual_net", {"num_classes": 7, "width": 4}).eval()
    for size in (8, 15, 32):
        assert module(torch.zeros(2, 1, size, size)).shape == (2, 7)


def test_make_demo_names_what_is_there() -> None:
    text = (EXAMPLES.parent / "Makefile").read_text(encoding="utf-8")
    assert "train examples/residual_net.py:residual_net --data digits" in text
