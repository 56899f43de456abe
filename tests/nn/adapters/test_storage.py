"""An adapter's file: into a fresh model, and into none but the one it was made for."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from adapted_models import Encoder, batch, train  # noqa: E402
from dmc import model_file  # noqa: E402
from dmc.nn import DeepLoRA  # noqa: E402
from dmc.nn.adapters import storage  # noqa: E402


def fresh(**more):
    torch.manual_seed(0)
    return Encoder(**more)


@pytest.fixture
def saved(tmp_path):
    """A trained adapter's file, and what the model with it predicts."""
    model = fresh()
    adapter = DeepLoRA(["query", "value"], 3, alpha=6.0, modules_to_save=["head"], name="mine").attach(model)
    train(model, [*adapter.parameter_groups(1e-2), {"params": list(model.head.parameters()), "lr": 1e-2}])
    adapter.save(tmp_path / "adapter.safetensors")
    return tmp_path / "adapter.safetensors", model(batch()[0]).detach()


def test_into_a_fresh_model(saved):
    path, expected = saved
    model = fresh()
    before = model(batch()[0])
    adapter = DeepLoRA.load(path, model)
    assert (before - expected).abs().max() > 0.01
    assert torch.equal(model(batch()[0]), expected)
    assert (adapter.name, adapter.rank, adapter.alpha, adapter.modules_to_save) == ("mine", 3, 6.0, ["head"])
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {
        n for n, _ in model.named_parameters() if ".updates." in n or n.startswith("head.")
    }
    losses = train(model, adapter.parameter_groups(1e-2))  # and on it goes
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("start", ["compressed", "kaiming"])
def test_other_starts(start, tmp_path):
    model, (x, y) = fresh(), batch()
    adapter = DeepLoRA("blocks.*", 4, layers=2 if start == "kaiming" else 3, start=start)
    adapter.attach(model, None if start == "kaiming" else lambda: nn.functional.mse_loss(model(x), y))
    train(model, adapter.parameter_groups(1e-2))
    adapter.save(tmp_path / "adapter")
    other = fresh()
    DeepLoRA.load(tmp_path / "adapter", other, name="again")
    assert torch.equal(other(x), model(x))
    assert list(DeepLoRA.of(other)) == ["again"]


def test_beside_another_and_while_merged(saved):
    path, expected = saved
    model = fresh()
    other = DeepLoRA(["query", "embed"], 2, scale=0.5, name="other").attach(model)
    other.merge()
    adapter = DeepLoRA.load(path, model)
    with pytest.raises(ValueError, match="the model has an adapter 'mine' already"):
        DeepLoRA.load(path, model)
    other.unmerge()
    assert torch.equal(model(batch()[0]), expected)
    adapter.merge()
    adapter.save(path)
    again = fresh()
    DeepLoRA.load(path, again)
    assert torch.equal(again(batch()[0]), expected)


def test_an_adapter_of_another_model_is_refused_by_what_differs(saved):
    path, _ = saved
    for model, said in (
        (
            fresh(blocks=1),
            r"an adapter of another model: 2 of its 6 names the model has not \(blocks.1.query, blocks.1",
        ),
        (fresh(width=14), r"5 of another shape \(blocks.0.query: 12×12 there, 14×14 here, blocks.0.value: 24×12"),
        (nn.Sequential(nn.Linear(6, 6)), "6 of its 6 names the model has not"),
    ):
        keys = list(model.state_dict())
        with pytest.raises(ValueError, match=said):
            DeepLoRA.load(path, model)
        assert list(model.state_dict()) == keys
        assert all(p.requires_grad for p in model.parameters())


def test_other_weights_of_the_same_shapes_are_told(saved):
    path, _ = saved
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match="the weights of 4 of the 4 layers that the adapter .* are others here"):
        DeepLoRA.load(path, Encoder())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for change in (lambda model: model.bfloat16(), lambda model: model.double(), slightly):
            model = fresh()
            change(model)
            DeepLoRA.load(path, model)


@torch.no_grad()
def slightly(model):
    for p in model.parameters():
        p += 0.05 * p.std() * torch.randn_like(p)


def test_files_that_are_none(saved, tmp_path):
    path, _ = saved
    with pytest.raises(FileNotFoundError, match="there is no model file"):
        DeepLoRA.load(tmp_path / "nothing", fresh())
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="is damaged"):
        DeepLoRA.load(path, fresh())
    model_file.save(path, "Recommender", {"a": np.zeros(3)}, {})
    with pytest.raises(ValueError, match="holds a Recommender, not a DeepLoRA"):
        DeepLoRA.load(path, fresh())
    path.write_text("what is this")
    with pytest.raises(ValueError, match="is not a model file"):
        DeepLoRA.load(path, fresh())


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays, header: header.pop("settings"),
        lambda arrays, header: header["settings"].update(rank=0, alpha=1),
        lambda arrays, header: header["made_for"].clear(),
        lambda arrays, header: next(iter(header["made_for"].values())).update(factors=9),
        lambda arrays, header: next(iter(header["made_for"].values())).update(sample=[1.0]),
        lambda arrays, header: next(iter(header["made_for"].values())).update(shape=[1]),
        lambda arrays, header: arrays.update({"blocks.0.query.0": arrays["blocks.0.query.0"][:-1]}),
        lambda arrays, header: arrays.update({"blocks.0.query.0": arrays["blocks.0.query.0"].astype(int)}),
    ],
)
def test_parts_that_do_not_fit_each_other(tmp_path, change):
    path = tmp_path / "adapter.safetensors"
    DeepLoRA(["query"], 3).attach(Encoder()).save(path)
    arrays, header = model_file.load(path, storage.KIND)
    change(arrays, header)
    model_file.save(path, storage.KIND, arrays, {key: header[key] for key in ("settings", "made_for") if key in header})
    model = Encoder()
    with pytest.raises(ValueError, match=r"is damaged: .*; save the model again"):
        DeepLoRA.load(path, model)
    assert DeepLoRA.of(model) == {}


def test_what_has_diverged_is_told_where_it_is_kept_and_where_it_is_loaded(tmp_path):
    adapter = DeepLoRA(["query"], 3).attach(fresh())
    with torch.no_grad():
        adapter.updates["blocks.1.query"].U[:2] = torch.nan
    with pytest.warns(UserWarning, match=r"6 of the 162 numbers of adapter 'default' are not finite"):
        adapter.save(tmp_path / "adapter.safetensors")
    with pytest.warns(UserWarning, match=r"6 of the 162 numbers of the adapter in .* are not finite"):
        DeepLoRA.load(tmp_path / "adapter.safetensors", fresh())


def test_a_head_in_half_precision_is_kept(tmp_path):
    model = fresh().bfloat16()
    adapter = DeepLoRA(["query"], 2, modules_to_save=["head"]).attach(model)
    adapter.save(tmp_path / "half")
    model.bfloat16()  # its factors as well
    adapter.save(tmp_path / "half")
    other = fresh().bfloat16()
    nn.init.ones_(other.head.weight)
    DeepLoRA.load(tmp_path / "half", other)
    assert torch.equal(other.head.weight, model.head.weight)
