"""Where factors start; the compressed start against the full-width network that it stands for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from adapted_models import Encoder, batch  # noqa: E402
from dmc.nn import DeepLoRA  # noqa: E402
from dmc.nn.adapters import starts  # noqa: E402


def drawn(start, shape=(9, 14), rank=4, layers=3, scale=0.1, gradient=None):
    return starts.factors(start, shape, rank, layers, scale, np.random.default_rng(0), gradient)


def test_every_layer_is_semi_orthogonal():
    f = drawn("orthogonal")
    for W in (f.U, *f.cores, f.V):
        np.testing.assert_allclose(W.T @ W, 0.01 * np.eye(4), atol=1e-15)
    np.testing.assert_allclose(np.linalg.svd(f.dense(), compute_uv=False)[:4], 1e-3, rtol=1e-10)


def test_loras_starts_are_those_of_peft_and_of_the_authors():
    for start, size in (("kaiming", 1 / 3), ("normal", 1.0)):
        f = drawn(start, (50, 400), 30, layers=2)
        assert not f.U.any()
        assert f.cores == ()
        expected = size * (1 if start == "normal" else 3 / 20)  # ±1/√n has a standard deviation of 1/√(3n)
        assert np.std(f.V) == pytest.approx(expected / (1 if start == "normal" else 3**0.5), rel=0.02)


@pytest.mark.parametrize("shape", [(14, 14), (9, 14), (14, 9)])
def test_the_compressed_start_is_the_full_networks_at_one_step(shape):
    """Q is the semi-orthogonal product of full-width layers; G moves them, right, in its own directions and QᵀG's, and
    left in Q times these. A random Q that maps the start's V to its U is such a one."""
    rng, r = np.random.default_rng(3), 2
    m, n = shape
    G = np.linalg.qr(rng.standard_normal((m, r)))[0] * [3.0, 1.0] @ np.linalg.qr(rng.standard_normal((n, r)))[0].T
    f = drawn("compressed", shape, 2 * r, gradient=torch.from_numpy(G))
    U, V = np.asarray(f.U), np.asarray(f.V)
    for side in (U, V):
        np.testing.assert_allclose(side.T @ side, np.eye(2 * r), atol=1e-12)
    for core in f.cores:
        np.testing.assert_array_equal(np.asarray(core), 0.1 * np.eye(2 * r))
    assert len(f.cores) == 3
    # The rest of Q: between the complements, at random.
    rest_U, rest_V = (np.linalg.svd(side)[0][:, 2 * r :] for side in (U, V))
    k = min(rest_U.shape[1], rest_V.shape[1])
    turn = np.linalg.qr(rng.standard_normal((max(m, n) - 2 * r, k)))[0]
    Q = U @ V.T + (rest_U @ turn @ rest_V.T if m >= n else rest_U @ turn.T @ rest_V.T)
    np.testing.assert_allclose(np.linalg.svd(Q, compute_uv=False), 1, atol=1e-12)
    P, _, Rt = np.linalg.svd(G)
    right = np.linalg.qr(np.hstack([Rt[:r].T, Q.T @ P[:, :r]]))[0]
    left = Q @ right
    cosines = [np.linalg.svd(a.T @ b, compute_uv=False) for a, b in ((right, V), (np.linalg.qr(left)[0], U))]
    np.testing.assert_allclose(cosines, 1, atol=1e-10)


def test_a_compressed_step_is_what_the_full_network_does():
    """Gradient descent on W_3·W_2·W_1 of full width, from Q's factors, and on the compressed factors with outer ones
    fixed, for a loss of low rank: the products stay together."""
    rng, d, r, scale, rate = np.random.default_rng(0), 12, 2, 0.3, 0.05
    G = np.linalg.qr(rng.standard_normal((d, r)))[0] * [-2.0, -1.0] @ np.linalg.qr(rng.standard_normal((d, r)))[0].T
    f = drawn("compressed", (d, d), 2 * r, scale=scale, gradient=torch.from_numpy(G))
    U, V = np.asarray(f.U), np.asarray(f.V)
    rest = [np.linalg.svd(side)[0][:, 2 * r :] for side in (U, V)]
    Q = U @ V.T + rest[0] @ rest[1].T
    full, small = [scale * np.eye(d), scale * np.eye(d), scale * Q], [np.asarray(core) for core in f.cores]
    for _ in range(20):
        for layers, gradient in ((full, G), (small, U.T @ G @ V)):
            W1, W2, W3 = layers
            steps = (W2.T @ W3.T @ gradient, W3.T @ gradient @ W1.T, gradient @ W1.T @ W2.T)
            layers[:] = [W - rate * step for W, step in zip(layers, steps, strict=True)]
    wide, narrow = full[2] @ full[1] @ full[0], small[2] @ small[1] @ small[0]
    np.testing.assert_allclose(U.T @ wide @ V, narrow, atol=1e-10)
    assert np.linalg.norm(narrow) > 2 * 2 * scale**3  # and have left where they were


def test_first_gradients_are_those_of_the_weights_and_leave_no_trace():
    model, (x, y) = Encoder(), batch()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    taken = []
    DeepLoRA(["query", "head"], 2, start="compressed").attach(
        model, lambda: taken.append(nn.functional.mse_loss(model(x), y)) or taken[-1]
    )
    assert len(taken) == 1
    layer = model.head.layer
    assert torch.equal(layer.weight.grad, torch.ones_like(layer.weight))
    assert all(p.grad is None for name, p in model.named_parameters() if name != "head.layer.weight")
    plain = Encoder()
    plain.load_state_dict(
        {key.replace(".layer", ""): v for key, v in model.state_dict().items() if "updates" not in key}
    )
    nn.functional.mse_loss(plain(x), y).backward()
    P, _, Qt = torch.linalg.svd(plain.head.weight.grad)
    update = model.head.updates["default"]
    for side, vector in ((update.U, P[:, 0]), (update.V.T, Qt[0])):
        assert (side.T @ vector).norm().item() == pytest.approx(1, abs=1e-5)


def test_layers_that_share_a_weight_share_its_gradient():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6)), torch.randn(9, 6)
    model[2].weight = model[0].weight
    adapter = DeepLoRA(["0", "2"], 2, start="compressed").attach(model, lambda: model(x).square().sum())
    found = {}
    starts.first_gradients(adapter._attachment.layers, lambda: model(x).square().sum(), found.__setitem__)
    assert torch.equal(found["0"], found["2"])
    assert sorted(adapter.updates) == ["0", "2"]
    assert model[2].layer.weight is model[0].layer.weight


def test_gradients_that_give_no_start():
    x, y = batch()

    def attach(loss, targets=("query",)):
        model = Encoder()
        try:
            DeepLoRA(targets, 4, start="compressed").attach(model, None if loss is None else lambda: loss(model))
        finally:
            assert all(p.grad is None and p.requires_grad for p in model.parameters())

    def without_head(model):
        nn.init.zeros_(model.head.weight)
        return nn.functional.mse_loss(model(x), y)

    with pytest.raises(
        ValueError, match=r"is zero at 2 of 2 layers \(blocks.0.query, blocks.1.query\).*a head of zeros"
    ):
        attach(without_head)
    with pytest.raises(ValueError, match="does not exist at 2 of 2 layers"):
        attach(lambda model: model.embed(x).sum())
    with pytest.raises(ValueError, match="is not finite at 2 of 2 layers"):
        attach(lambda model: nn.functional.mse_loss(model(x), y * torch.nan))
    normed = Encoder()
    nn.utils.parametrizations.weight_norm(normed.blocks[0]["query"])
    with pytest.raises(ValueError, match=r"the weight of blocks\.0\.query is made from other parameters"):
        DeepLoRA(["query"], 4, start="compressed").attach(normed, lambda: normed(x).sum())
    with pytest.raises(TypeError, match="loss returned float; it has to return a tensor of one number"):
        attach(lambda model: 1.0)
    with pytest.raises(TypeError, match="loss returned a tensor of 120"):
        attach(lambda model: model(x))
    with pytest.raises(ValueError, match="give loss=, a function that returns it"):
        attach(None)
    with pytest.raises(ValueError, match="loss is given and start is 'orthogonal'"):
        DeepLoRA(["query"], 4).attach(Encoder(), lambda: torch.zeros(()))
