"""What a process of a fit in several holds and sends, by the formulas of docs/guide/several-machines.md."""

from __future__ import annotations

import math

import numpy as np

from dmc.kernels import pair_blocks, posterior

NUMBER = 4  # bytes: all that is sent are float32
FEATURES = 50  # of who rated what, for each user
PROGRAM = 400e6  # bytes of a process that holds nothing


def moments(width: int) -> int:
    """Numbers of the moments of a user or item with so many factors and a bias, as the kernel lays them out."""
    return posterior.moments_of(np.zeros((1, width + 1), np.float32)).shape[1]


def others(size: int) -> float:
    """The share of a sum that is not a process' own: what has to be sent of it, twice."""
    return (size - 1) / size


def sent_by_bayes(items: int, width: int, size: int) -> float:
    """Bytes a sweep and process: the sums of what each has of the items' moments, and the moments of the posteriors."""
    return 2 * others(size) * items * NUMBER * moments(width)


def sent_by_clicks(items: int, width: int, size: int) -> float:
    """Bytes a sweep and process: of each block of coordinates the items' systems, and the steps of these."""
    blocks = math.ceil(width / pair_blocks.BLOCK)
    return others(size) * items * NUMBER * (pair_blocks.SYSTEM + pair_blocks.BLOCK) * blocks


def sent_by_network(items: int, width: int, size: int, cores: int) -> float:
    """Bytes a step and process: the gradient of the items' factors and biases and of the cores."""
    return 2 * others(size) * NUMBER * (items * (width + 1) + cores * width**2)


def held(ratings: float, users: float, items: float, width: int) -> float:
    """Bytes of a process of a Bayesian fit, the program itself apart: its ratings in two orders, the items' moments and
    their sums, and of each of its users moments, mean, what is expected of it, and features."""
    of_user = NUMBER * (moments(width) + 2 * (width + 1) + FEATURES)
    return 16 * ratings + 2 * NUMBER * moments(width) * items + of_user * users
