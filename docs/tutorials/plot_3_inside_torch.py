"""
Inside torch
============

You have a model in PyTorch, and somewhere in it a large matrix of which few
entries are known. This tutorial puts the masked product and the compressed
deep factorisation into modules of your own, trains them with torch's
optimisers, adds a network on side information, and takes the result out again.
At its end a Deep LoRA adapter in ten lines.

It needs ``pip install 'dmc[plot,torch]'``.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import dmc

# %%
# The data
# --------
#
# 300 catalysts were tried on 200 reactions, 15 % of all pairs. The yield (in
# %) depends on a few hidden properties of both, which makes the matrix one of
# low rank; and on how the temperature at which a catalyst was used compares
# with what a reaction needs, which we know for all of them, and which is no
# low-rank effect.

torch.manual_seed(0)
rng = np.random.default_rng(0)
shape = 300, 200
hidden_part = 14 * rng.standard_normal((300, 2)) @ rng.standard_normal((2, 200))
used, needed = rng.uniform(40, 120, 300), rng.uniform(40, 120, 200)  # °C
of_temperature = 30 * np.exp(-(((used[:, None] - needed) / 12) ** 2))
percent = 40 + hidden_part + of_temperature + 2 * rng.standard_normal(shape)

tried = rng.random(shape) < 0.15
test = tried & (rng.random(shape) < 0.2)
rows, cols = np.nonzero(tried & ~test)
test_rows, test_cols = (torch.from_numpy(places) for places in np.nonzero(test))
level = percent[rows, cols].mean()
target = torch.tensor(percent[rows, cols] - level, dtype=torch.float32)
test_target = torch.tensor(percent[test] - level, dtype=torch.float32)
print(f"{len(target):,} entries to train on, {len(test_target):,} to judge by")

# %%
# The masked product
# ------------------
#
# ``MaskedProduct`` holds where the entries are, and gives those of ``left @
# right.T``, without the rest of the matrix. Predictions are in the order in
# which you gave the positions.

plan = dmc.nn.MaskedProduct.from_entries(rows, cols, shape)
left, right = (torch.randn(n, 8, requires_grad=True) for n in shape)
predicted = plan(left, right)
print(plan, tuple(predicted.shape))

# %%
# It is differentiable like any operator. Compare its gradients with those of
# the dense product, and let torch check a small one by finite differences.

predicted.square().sum().backward()
ours = left.grad.clone(), right.grad.clone()
left.grad = right.grad = None
(left @ right.T)[rows, cols].square().sum().backward()
for a, b in zip(ours, (left.grad, right.grad), strict=True):
    off = (a - b).abs().max() / b.abs().max()
    print(f"largest difference {off:.0e} of the largest entry")

small = dmc.nn.MaskedProduct.from_entries([0, 2, 3, 1], [1, 0, 2, 2], (4, 3))
double = {"dtype": torch.float64, "requires_grad": True}
sides = torch.randn(4, 2, **double), torch.randn(3, 2, **double)
print("torch.autograd.gradcheck:", torch.autograd.gradcheck(small, sides))

# %%
# The compressed factorisation
# ----------------------------
#
# ``CompressedFactorization`` is the matrix itself: X̂ = U·W₃·W₂·W₁·Vᵀ plus
# biases, with trainable factors. ``rank`` is a bound and may be generous: from
# a small start, depth prefers a low rank (:doc:`/theory/deep-networks`).
#
# The outer factors U and V are large and start as orthonormal columns; the
# cores are small and learn the spectrum. They can have rates of their own
# ("discrepant" rates): ``parameter_groups(lr, outer_ratio)`` is what you give
# to any optimiser of torch's. Let us see what the ratio does to Adam.


def train(model, loss, groups, n_steps=300):
    """Steps of Adam; the error on held-out entries after every tenth."""
    optimiser = torch.optim.Adam(groups)
    errors = []
    for step in range(n_steps):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
        if step % 10 == 9:
            with torch.no_grad():
                residual = model.at(test_rows, test_cols) - test_target
            errors.append(float(residual.square().mean().sqrt()))
    return errors


def factorization():
    return dmc.nn.CompressedFactorization(
        shape, rank=10, depth=3, scale=0.2, biases=True
    )


curves = {}
for ratio in (0.0, 0.1, 1.0):
    model = factorization()
    groups = model.parameter_groups(lr=0.02, outer_ratio=ratio)
    curves[f"outer_ratio = {ratio:g}"] = train(
        model, lambda model=model: model.loss(plan, target), groups
    )
print(model)
for name, errors in curves.items():
    print(f"{name}: held-out error {errors[-1]:.2f} points of yield")
print(f"the mean for every pair: {test_target.square().mean().sqrt():.2f}")

# %%
# With the outer factors frozen (0) the cores can only mix a random subspace,
# and nothing is learnt that holds for other entries. That is the paper's point
# about completion: the outer factors have to move.
#
# A network on side information
# -----------------------------
#
# The temperatures are known for every pair, tried or not. A small network
# takes them in; its output adds to the matrix. Both are trained together: the
# sum at the observed entries is all that the loss needs.


class Yield(nn.Module):
    """A low-rank part, plus a network of what is known of rows and columns."""

    def __init__(self, row_features, column_features):
        super().__init__()
        self.register_buffer("of_rows", row_features)
        self.register_buffer("of_columns", column_features)
        self.matrix = factorization()
        width = row_features.shape[1] + column_features.shape[1]
        self.network = nn.Sequential(
            nn.Linear(width, 32),
            nn.SiLU(),
            nn.Linear(32, 32),
            nn.SiLU(),
            nn.Linear(32, 1),
        )

    def side(self, rows, cols):
        pair = torch.cat([self.of_rows[rows], self.of_columns[cols]], 1)
        return 10 * self.network(pair)[:, 0]

    def forward(self, plan, rows, cols):  # at all entries of a plan
        return self.matrix(plan) + self.side(rows, cols)

    def at(self, rows, cols):  # at any pairs, such as those of a mini-batch
        return self.matrix.at(rows, cols) + self.side(rows, cols)


def standardised(celsius):
    return torch.tensor((celsius - 80) / 23, dtype=torch.float32)[:, None]


both = Yield(standardised(used), standardised(needed))
at = torch.from_numpy(rows), torch.from_numpy(cols)
cores_and_outer = both.matrix.parameter_groups(lr=0.02, outer_ratio=0.1)
groups = [*cores_and_outer, {"params": both.network.parameters(), "lr": 0.01}]


def loss():
    return 0.5 * (both(plan, *at) - target).square().sum()


errors = train(both, loss, groups)
curves["with temperatures"] = errors
print(f"with temperatures: held-out error {errors[-1]:.2f} points of yield")

# %%
# Held-out error by steps. The standard deviation of the noise, below which
# nothing can go, is drawn in.

COLOURS, GREY = ("#767676", "#c05621", "#805ad5", "#2b6cb0"), "#767676"
plt.rc("axes", edgecolor=GREY, labelcolor=GREY)
plt.rc("axes.spines", top=False, right=False)
plt.rc(("xtick", "ytick", "text"), color=GREY)
plt.rc("font", size=12)
plt.rc("savefig", transparent=True)
figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
for (name, errors), colour in zip(curves.items(), COLOURS, strict=True):
    n = 10 * np.arange(1, len(errors) + 1)
    axes.plot(n, errors, color=colour, linewidth=2, label=name)
axes.axhline(2, color=GREY, linestyle=":", label="noise")
axes.set(xlabel="steps of Adam", ylim=(0, None))
axes.set(ylabel="held-out error (points of yield)")
figure.legend(loc="outside upper left", frameon=False, ncols=2, fontsize=11)
plt.show()

# %%
# Take the result out
# -------------------
#
# ``factors()`` copies the matrix into a ``Factors``, in NumPy: single entries,
# singular values, truncation, and everything else of the library without
# torch.

found = both.matrix.factors()
print(found)
print("singular values:", np.round(found.singular_values()[:8], 1))
print("one entry:", np.round(found.at([0], [0]), 2))

# %%
# Deep LoRA
# ---------
#
# The same idea for fine-tuning: an update ΔW of a dense layer that is itself a
# deep linear network from a small start. Here a network has to follow one
# whose hidden layer differs by a matrix of rank one. The adapter is given rank
# 16, and uses about one direction.

model = nn.Sequential(nn.Linear(32, 48), nn.Tanh(), nn.Linear(48, 4))
x = torch.randn(400, 32)
change = torch.outer(torch.randn(48), torch.randn(32)) / 10
with torch.no_grad():
    wanted = model[2](torch.tanh(model[0](x) + x @ change.T))

adapter = dmc.nn.DeepLoRA(["0"], rank=16).attach(model)
optimiser = torch.optim.AdamW(adapter.parameter_groups(lr=3e-3), weight_decay=0)
before = nn.functional.mse_loss(model(x), wanted).item()
for _ in range(400):
    optimiser.zero_grad()
    loss = nn.functional.mse_loss(model(x), wanted)
    loss.backward()
    optimiser.step()
print(f"loss {before:.4f} before, {loss.item():.6f} after")
values = adapter.singular_values()["0"]
print(
    "singular values of ΔW, of the largest:",
    np.round((values / values[0]).numpy()[:4], 3),
)

adapter.merge()  # into the weights
adapter.unload()  # the model is what it was, with other weights
print(model)

# %%
# What to remember
# ----------------
#
# - ``MaskedProduct`` for entries of a product, ``CompressedFactorization``
#   for the matrix; both are ordinary modules.
# - Give the outer factors a rate of their own with ``parameter_groups``, and
#   do not freeze them.
# - ``at`` serves mini-batches; ``loss(plan, target)`` computes value and
#   gradient in one pass over all entries.
#
# Next: :doc:`/guide/torch` for devices, ``torch.compile`` and mini-batches,
# :doc:`/guide/adapters` for Deep LoRA on transformers.
