"""Evaluation mode for a while, and the modes of before after it, also where something fails."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from dmc.nn.evaluation_mode import evaluating, run_in_evaluation_mode  # noqa: E402


@pytest.fixture
def model():
    made = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    made[2].eval()
    return made


def test_of_a_model(model):
    found = []
    model[1].register_forward_hook(lambda module, given, output: found.append((module.training, output.requires_grad)))
    with pytest.raises(RuntimeError), evaluating(model):
        model(torch.ones(5, 3))
    with evaluating(model):
        model(torch.ones(5, 4))
    assert found == [(False, False)]
    assert [module.training for module in model] == [True, True, False]
    assert torch.is_grad_enabled()


def test_of_one_module(model):
    handles = [handle for place in (0, 2) for handle in run_in_evaluation_mode(model[place])]
    twin, x = copy.deepcopy(model), 3 + torch.randn(5, 4)
    for each in (model, twin):
        each(x)
        with pytest.raises(RuntimeError):
            each(x[:, :3])
        assert [module.training for module in each] == [True, True, False]
        assert not each[0].running_mean.any()
    for handle in handles:
        handle.remove()
    model(x)
    assert model[0].running_mean.any()
