"""What the tests of the torch modules share: observed entries, in their order and shuffled, and factors."""

import numpy as np
import torch

import dmc


def planted(shape=(30, 20), rank=2, observed=0.4, **more):
    return dmc.datasets.planted(shape, rank, observed, **more).observations


def sides(shape, width=3, dtype=torch.float64):
    return [torch.randn(n, width, dtype=dtype, requires_grad=True) for n in shape]


def shuffled(observed, seed=0):
    order = np.random.default_rng(seed).permutation(observed.n_observed)
    return observed.rows[order], observed.cols[order], torch.from_numpy(observed.values[order])
