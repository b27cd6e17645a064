"""The learning rate over a training."""

import pytest
import torch

from cnntk.training.schedule import SCHEDULES, learning_rate_at

STEPS = 101


def rates(schedule: str) -> list[float]:
    return [learning_rate_at(schedule, 2.0, step, STEPS) for step in range(STEPS)]


def test_one_cycle_is_that_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    expected = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2.0, total_steps=STEPS, pct_start=0.2, cycle_momentum=False, final_div_factor=4000
    )
    actual = rates("one-cycle")
    optimizer.step()
    # torch puts the peak one step earlier, at pct_start * steps - 1.
    assert max(actual) == actual[20] == pytest.approx(2.0)
    for _ in range(STEPS - 1):
        optimizer.step()
        expected.step()
    assert expected.get_last_lr()[0] == pytest.approx(actual[-1])
    assert actual[0] == pytest.approx(2.0 / 25)


def test_cosine_and_constant() -> None:
    assert [rates("cosine")[i] for i in (0, 50, 100)] == pytest.approx([2.0, 1.0, 0.0])
    assert set(rates("constant")) == {2.0}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_single_step_and_no_rate_above_the_peak(schedule: str) -> None:
    assert 0 <= learning_rate_at(schedule, 2.0, 0, 1) <= 2.0
    assert max(rates(schedule)) <= 2.0
