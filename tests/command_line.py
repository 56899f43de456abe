"""What the tests of commands share: ratings, files of them, and what a command answered."""

import json

import numpy as np


def ratings(users=30, items=20, seed=0):
    rng = np.random.default_rng(seed)
    u, i = np.nonzero(rng.random((users, items)) < 0.5)
    return [(f"u{a}", b, 1 + (a * b) % 5) for a, b in zip(u.tolist(), i.tolist(), strict=True)]


def write(path, rows, header="user,item,rating"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def last_json(output: str):
    return json.loads(output.splitlines()[-1])


def clicks(users=60, items=30, seed=0):
    """Users of three kinds who choose mostly among the items of theirs."""
    rng = np.random.default_rng(seed)
    chance = np.where(np.arange(users)[:, None] % 3 == np.arange(items) % 3, 0.6, 0.05)
    u, i = np.nonzero(rng.random((users, items)) < chance)
    return [(f"u{a}", b) for a, b in zip(u.tolist(), i.tolist(), strict=True)]
