"""An adapter that is trained and does not move says so, by itself; one that moves is silent."""

import copy
import warnings

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from adapted_models import Encoder, batch  # noqa: E402
from dmc.nn import DeepLoRA  # noqa: E402
from dmc.nn.adapters import low_rank, watch  # noqa: E402


def train(model, parameters, steps, rate=0.1, rule=torch.optim.SGD):
    x, y = batch()
    optimizer = rule(parameters, rate)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


@pytest.fixture
def adapted():
    torch.manual_seed(0)
    model = Encoder()
    return model, DeepLoRA(["query", "value"], 3).attach(model)


def test_descent_that_stays_on_the_plateau(adapted):
    model, adapter = adapted
    said = r"after 100 backward passes all 4 updates of adapter 'default' are what .* 1e-06 .* change is \de-\d\d\)"
    train(model, adapter.parameters(), 99)
    with pytest.warns(UserWarning, match=said) as caught:
        train(model, adapter.parameters(), 50)
    assert len(caught) == 1


def test_it_says_so_again_after_ten_times_as_many(monkeypatch):
    monkeypatch.setattr(watch, "FIRST_LOOK", 10)
    model = Encoder()
    adapter = DeepLoRA(["query"], 3).attach(model)
    with pytest.warns(UserWarning, match="nothing has been learnt yet") as caught:
        train(model, adapter.parameters(), 110)
    assert [str(w.message).split(" backward")[0] for w in caught] == ["after 10", "after 100"]


def test_adam_at_a_rate_that_does_nothing(adapted):
    model, adapter = adapted
    with pytest.warns(UserWarning, match="nothing has been learnt yet; raise the learning rate"):
        train(model, adapter.parameters(), 100, 1e-9, torch.optim.AdamW)


@pytest.mark.parametrize("settings", [{}, {"layers": 2, "start": "kaiming"}, {"layers": 2, "start": "normal"}])
def test_what_moves_is_silent(settings):
    model = Encoder()
    adapter = DeepLoRA(["query", "value"], 3, **settings).attach(model)
    train(model, adapter.parameters(), 120, 1e-3, torch.optim.AdamW)
    assert max(adapter._watch.relative_sizes().values()) > low_rank.NEGLIGIBLE
    assert adapter._watch.next_look is None


def test_loras_zero_start_is_seen_too():
    model = Encoder()
    adapter = DeepLoRA(["query"], 3, layers=2, start="kaiming").attach(model)
    with pytest.warns(UserWarning, match=r"all 2 updates .* \(the largest change is 0\)"):
        train(model, adapter.parameters(), 100, 0.0)


def test_an_optimiser_that_was_made_before_the_adapter():
    model = Encoder()
    before = list(model.parameters())
    DeepLoRA(["query"], 3).attach(model)
    with pytest.warns(UserWarning, match="give the optimiser the adapter's parameter_groups"):
        train(model, before, 100)


def test_what_starts_large_or_comes_from_a_file_and_stays_there_is_seen_too(tmp_path):
    model = Encoder()
    adapter = DeepLoRA(["query"], 3, scale=0.3).attach(model)
    assert min(adapter._watch.relative_sizes().values()) > 1e-3
    with pytest.warns(UserWarning, match="nothing has been learnt yet"):
        train(model, adapter.parameters(), 100, 1e-8)
    adapter.save(tmp_path / "adapter.safetensors")
    adapter.unload()
    loaded = DeepLoRA.load(tmp_path / "adapter.safetensors", model)
    with pytest.warns(UserWarning, match="nothing has been learnt yet"):
        train(model, loaded.parameters(), 100, 1e-8)


def test_sizes_are_relative_to_the_weights(adapted):
    model, adapter = adapted
    for name, size in adapter._watch.relative_sizes().items():
        layer = model.get_submodule(name)
        expected = adapter.updates[name].dense().norm() / layer.layer.weight.norm()
        assert size == pytest.approx(expected.item(), rel=1e-4)


def test_layers_without_a_gradient_are_told():
    torch.manual_seed(0)
    model = Encoder()
    model.unused = nn.Linear(6, 6)
    adapter = DeepLoRA(["query", "unused"], 3).attach(model)
    with pytest.warns(UserWarning, match=r"1 of the 3 layers of adapter 'default' had no gradient in 100 .*\(unused\)"):
        train(model, adapter.parameters(), 110, 1e-2, torch.optim.AdamW)


def test_what_has_diverged_is_told():
    model = Encoder()
    adapter = DeepLoRA(["query"], 3).attach(model)
    with torch.no_grad():
        adapter.updates["blocks.1.query"].V += torch.nan
    said = r"after 100 backward passes \d of 2 updates of adapter 'default' are not finite .*lower the learning rate"
    with pytest.warns(UserWarning, match=said):
        train(model, adapter.parameters(), 100)


def test_a_copy_is_watched_as_well(adapted):
    model, _ = adapted
    twin = copy.deepcopy(model)
    with pytest.warns(UserWarning, match="after 100 backward passes"):
        train(twin, DeepLoRA.of(twin)["default"].parameters(), 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, DeepLoRA.of(model)["default"].parameters(), 50)


def test_an_adapter_that_does_not_answer_is_not_counted(adapted):
    model, first = adapted
    second = DeepLoRA(["query"], 2, name="second").attach(model)
    twin = copy.deepcopy(model)  # whose first adapter needs no gradients when it is copied
    with pytest.warns(UserWarning, match="adapter 'second'"):
        train(model, second.parameters(), 100)
    assert set(first._watch.passes.values()) == {0}
    DeepLoRA.of(twin)["default"].activate()
    train(twin, DeepLoRA.of(twin)["default"].parameters(), 3)
    assert set(DeepLoRA.of(twin)["default"]._watch.passes.values()) == {3}
