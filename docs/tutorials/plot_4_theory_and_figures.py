"""
The theory and its figures
==========================

Why does a deep linear network find a matrix of low rank, and why may one train
a small network in its place? This tutorial reproduces the main statements of
two papers with ``dmc.diagnostics`` and ``dmc.solve``, and shows where they
hold and where they do not:

- C. Yaras, P. Wang, W. Hu, Z. Zhu, L. Balzano, Q. Qu, *The law of parsimony
  in gradient descent for learning deep linear networks*, `arXiv 2306.01154
  <https://arxiv.org/abs/2306.01154>`_;
- C. Yaras, P. Wang, L. Balzano, Q. Qu, *Compressible dynamics in deep
  overparameterized low-rank learning & adaptation*, ICML 2024, `arXiv
  2406.04112 <https://arxiv.org/abs/2406.04112>`_.

It needs ``pip install '.[plot]'``. The mathematics is in
:doc:`/theory/deep-networks`.
"""

import matplotlib.pyplot as plt
import numpy as np

import dmc
from dmc import callbacks, diagnostics, initial, steps

BLUE, ORANGE, PURPLE, GREY = "#2b6cb0", "#c05621", "#805ad5", "#767676"
plt.rc("axes", edgecolor=GREY, labelcolor=GREY)
plt.rc("axes.spines", top=False, right=False)
plt.rc(("xtick", "ytick", "text"), color=GREY)
plt.rc("font", size=12)
plt.rc("savefig", transparent=True)

# %%
# The law of parsimony
# --------------------
#
# A linear map of rank 3 in 30 dimensions, learnt from whitened inputs by a
# network of three 30×30 layers. The layers start as ε times orthogonal
# matrices and move by gradient descent with weight decay.

d, rank, layers, scale, rate, decay, n_steps = 30, 3, 3, 0.3, 0.05, 0.01, 600
rng = np.random.default_rng(0)
P, Q = (np.linalg.qr(rng.standard_normal((d, rank)))[0] for _ in range(2))
target = (P * [3.0, 2.0, 1.0]) @ Q.T
inputs = np.linalg.qr(rng.standard_normal((d, d)))[0]
inputs *= np.geomspace(1.4, 0.7, d)  # of different sizes, to be whitened
problem = dmc.LinearRegression(inputs, target @ inputs, whiten=True)

start = initial.orthogonal((d, d), layers, scale)
_, gradient = problem.value_and_grad(start)

# %%
# The theorem says that only a block C of size 2r = 6 of every layer is ever
# trained:
#
# .. math:: W_l(t) = U_l \left( \begin{matrix} C_l(t) & 0 \\
#    0 & \rho_l(t)\, I_{d-2r} \end{matrix} \right) V_l^\top,
#
# where :math:`U_l` and :math:`V_l` do not depend on t. They follow from the
# start and its first gradient.

form = diagnostics.parsimony(start, gradient, rank)


def singular_values_of_blocks(network):
    """Of the first layer: the block that moves, then the rest."""
    D = form.left[0].T @ diagnostics.layers(network)[0] @ form.right[0]
    k = form.moving
    blocks = D[:k, :k], D[k:, k:]
    return np.concatenate([np.linalg.svd(B, compute_uv=False) for B in blocks])


history = callbacks.History(values=singular_values_of_blocks)
rule = steps.DiscrepantDescent(rate, outer_ratio=1.0, weight_decay=decay)
settings = {"tol": 0, "check_every": 5, "callbacks": [history]}
trained = dmc.solve(problem, start, rule, max_steps=n_steps, **settings)

rho = diagnostics.predicted_rho(layers, scale, rate, n_steps, decay)
for block in diagnostics.block_form(trained.factors, form):
    print(f"largest entry off the blocks {block.off_block:.0e}", end=", ")
    print(f"rest less ρI {block.rest:.0e}", end=", ")
    print(f"ρ less its prediction {abs(block.rho - rho[-1]):.0e}")

# %%
# One line for each layer: to rounding, as the theorem says. In pictures: the
# first layer at the end of training, in its own coordinates and in the
# predicted ones, and the singular values of the two blocks over time. White
# crosses are ρ(t) as predicted.

W = diagnostics.layers(trained.factors)[0]
figure, places = plt.subplots(1, 2, figsize=(6.4, 3.6), layout="constrained")
pictures = {
    "as it is": W,
    "in the predicted coordinates": form.left[0].T @ W @ form.right[0],
}
for axes, (title, picture) in zip(places, pictures.items(), strict=True):
    shown = axes.imshow(
        np.abs(picture), norm="log", vmin=1e-4, vmax=2, cmap="cividis"
    )
    axes.set_title(title, fontsize=12)
    axes.set(xlabel="column of $W_1$", xticks=[0, 10, 20], yticks=[0, 10, 20])
places[0].set_ylabel("row of $W_1$")
place = {"ax": places, "location": "bottom", "shrink": 0.6}
figure.colorbar(shown, label="absolute value", extend="min", **place)
plt.show()

# %%

n, values = history.column("n_steps"), history.column("values")
figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
moving = axes.plot(n, values[:, : form.moving], color=ORANGE, linewidth=2)
resting = axes.plot(n, values[:, form.moving :], color=BLUE, linewidth=4)
t = np.arange(0, n_steps + 1, 50)
axes.plot(t, rho[t], "x", color="white", markersize=9)
axes.set(xlabel="step of gradient descent", ylabel="singular value of $W_1$")
figure.legend(
    [moving[0], resting[0]],
    [f"the 2r = {form.moving} that move", f"the other {d - form.moving}"],
    loc="outside upper left",
    frameon=False,
    ncols=2,
    fontsize=11,
)
plt.show()

# %%
# Three singular values grow to what the target needs, three shrink, and all
# others decay together.
#
# Compression
# -----------
#
# If only a 6×6 block of each layer moves, one may train 6×6 matrices alone,
# between outer factors that are computed once: the compressed network. What it
# leaves out is the part ρI of every layer, so the distance between the two
# networks is at most :math:`(d-2\hat r)^{1/2} \prod_l \rho_l`. With
# everything observed this is an equality.

fully_observed = dmc.LeastSquares(target / 3)
_, gradient = fully_observed.value_and_grad(start)
form = diagnostics.parsimony(start, gradient, rank)
compressed = initial.compressed_from(start, gradient, rank)
print(f"{start.n_parameters:,} parameters in the full network")
print(f"{sum(core.size for core in compressed.cores):,} in the cores")

distance, bound, looks = [], [], np.arange(0, 401, 10)
full, frozen = start, steps.DiscrepantDescent(rate, 0.0, decay)


def ten_steps(network, step):
    return dmc.solve(fully_observed, network, step, max_steps=10, tol=0).factors


for _ in looks:
    distance.append(diagnostics.compression_error(full, compressed))
    rhos = [block.rho for block in diagnostics.block_form(full, form)]
    bound.append(diagnostics.compression_bound(d, rank, rhos))
    full, compressed = ten_steps(full, rule), ten_steps(compressed, frozen)

figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
axes.plot(looks, bound, color=GREY, linewidth=5, alpha=0.4, label="bound")
axes.plot(looks, distance, ".", color=BLUE, label="measured distance")
axes.set(xlabel="step of gradient descent", ylim=(0, None))
axes.set(ylabel="distance (Frobenius norm)")
figure.legend(loc="outside upper left", frameon=False, ncols=2, fontsize=11)
plt.show()
off = np.abs(np.divide(distance, bound) - 1).max()
print(f"largest relative difference from the bound: {off:.0e}")

# %%
# A matrix with gaps
# ------------------
#
# In completion the theorem's assumption fails: the observed part of a matrix
# of low rank is itself not of low rank, so the subspace of the first gradient
# is not quite the right one. With outer factors frozen, training stalls. The
# remedy of the second paper is to let them move, γ times as fast as the cores
# ("discrepant rates").
#
# How large must γ be? Near the solution the outermost layer of the full
# network moves at the rate :math:`\eta\sigma^{2-2/L}`, the outer factors of
# the compressed one at :math:`\gamma\eta\sigma^2`. They agree at
# :math:`\gamma=\sigma^{-2/L}`. The published γ = 0.01 is close to that for
# large matrices and far below it for small ones.
#
# So take a small one: d = 100, rank 5, three layers, 30 % observed, ε = 0.001,
# as in the paper's code; only the rate is four times the published one, which
# takes the same path in a quarter of the steps.

d, rank, depth, scale, rate = 100, 5, 3, 1e-3, 0.02
rng = np.random.default_rng(10)
P, s, Qt = np.linalg.svd(rng.standard_normal((d, d)))
truth = (P[:, :rank] * s[:rank]) @ Qt[:rank]
mask = rng.random((d, d)) < 0.3
observed = dmc.observe(truth, mask)
matched = float(s[0] ** (-2 / depth))


def course(start, outer_ratio, max_steps=16_000, every=50):
    """Relative error on what was not observed, by steps."""

    def error(network):
        missed = (network.dense() - truth)[~mask]
        return np.linalg.norm(missed) / np.linalg.norm(truth[~mask])

    history = callbacks.History(error=error)
    rule = steps.DiscrepantDescent(rate, outer_ratio)
    problem = dmc.MaskedLeastSquares(observed)
    settings = {"tol": 0, "check_every": every, "callbacks": [history]}
    dmc.solve(problem, start, rule, max_steps=max_steps, **settings)
    return history.column("n_steps"), history.column("error")


small = initial.compressed(observed, rank, depth, scale)
courses = {
    "full width": course(initial.orthogonal((d, d), depth, scale), 1.0),
    f"compressed, γ = σ^(−2/3) = {matched:.2f}": course(small, matched),
    "compressed, γ = 0.01 (published)": course(small, 0.01),
    "compressed, γ = 0": course(small, 0.0),
}
styles = (
    {"color": GREY, "linewidth": 5, "alpha": 0.45},
    {"color": BLUE, "linewidth": 2},
    {"color": ORANGE, "linewidth": 2},
    {"color": PURPLE, "linewidth": 2, "linestyle": "--"},
)
figure, axes = plt.subplots(figsize=(6.4, 5.0), layout="constrained")
for (name, (n, error)), style in zip(courses.items(), styles, strict=True):
    axes.semilogy(n, error, label=name, **style)
axes.set(xlabel="step of gradient descent", xlim=(10_000, 16_000))
axes.set(ylabel="relative error, entries not observed")
figure.legend(loc="outside upper left", frameon=False, fontsize=11)
plt.show()

for name, (n, error) in courses.items():
    reached = (n[error <= goal] for goal in (0.5, 1e-2, 1e-4))
    first = [str(there[0]) if len(there) else "never" for there in reached]
    print(f"{name}: steps to .5, 1e-2 and 1e-4: {', '.join(first)}")

# %%
# All four wait on the same plateau, most of which is cut off here, and escape
# from it at about the same step. Up to there the compressed network follows
# the full one with any γ. Then it does so to the end only if the outer factors
# move at the matching rate; at the published rate it takes longer over the
# last digits, and frozen it never gets there. (The floors at the end are what
# the start leaves: a smaller ε lowers them, and takes longer to escape.)
#
# Depth makes a rank bound harmless
# ---------------------------------
#
# Why three layers at all? Two are enough to write a matrix of rank 5. But if
# the rank is not known, and the network is wider than it has to be, two layers
# use the spare width to fit the observed entries and miss the others. Three
# leave it unused.

d, rank = 50, 3


def recovered(width, depth, seed):
    """Relative error of the whole, once what is observed fits to 1e-4."""
    rng = np.random.default_rng(seed)
    P, s, Qt = np.linalg.svd(rng.standard_normal((d, d)))
    truth = (P[:, :rank] * (s[:rank] / s[0])) @ Qt[:rank]
    observed = dmc.observe(truth, rng.random((d, d)) < 0.4)
    problem = dmc.MaskedLeastSquares(observed)
    start = initial.narrow((d, d), width, depth, 1e-2, seed)
    goal = 1e-8 * problem.value(start.scaled(0))
    settings = {"tol": 0, "callbacks": [lambda info: info.value <= goal]}
    rule = steps.DiscrepantDescent(0.2 / problem.curvature)
    found = dmc.solve(problem, start, rule, max_steps=4000, **settings)
    return np.linalg.norm(found.factors.dense() - truth) / np.linalg.norm(truth)


widths, seeds = (3, 6, 12, 25, 50), range(3)
figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
for depth, colour, marker in ((2, ORANGE, "s"), (3, BLUE, "o")):
    errors = np.array(
        [[recovered(width, depth, seed) for seed in seeds] for width in widths]
    )
    low, middle, high = np.quantile(errors, [0, 0.5, 1], axis=1)
    print(f"{depth} layers:", *(f"{error:.0e}" for error in middle))
    axes.fill_between(widths, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(widths, middle, color=colour, marker=marker, linewidth=2)
    axes.text(52, middle[-1], f"{depth} layers", color=colour, va="center")
axes.set(xlabel=f"width of the network (the rank is {rank})", xlim=(2.7, 90))
axes.set(ylabel="relative error, whole matrix")
axes.set(yscale="log", xscale="log", xticks=widths, xticklabels=widths)
axes.minorticks_off()
plt.show()

# %%
# Lines are medians, bands the range over three problems; printed are the
# medians by width.
#
# From the theory to the solver
# -----------------------------
#
# Gradient descent from a small start spends most of its time on a plateau.
# What depth prefers can be had without it: as a penalty on the singular
# values, along whose path second-order steps go down. That is what
# ``MatrixCompletion`` does (:doc:`/theory/completion`), so that the matrix
# from above comes back to rounding, with its rank.

model = dmc.MatrixCompletion().fit(truth, mask=mask)
error = np.linalg.norm(model.complete() - truth) / np.linalg.norm(truth)
print(f"rank {model.rank_}, relative error {error:.0e}")
