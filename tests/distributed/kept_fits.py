"""Fits that end, as if killed, after so many snapshots; and go on from these."""

from __future__ import annotations

from dmc.distributed.checkpoint import Checkpoint


class Killed(Exception):
    """In the place of a kill."""


class _Deadly(Checkpoint):
    left = 0

    def keep(self, name, snapshot):
        super().keep(name, snapshot)
        self.left -= name in ("sweep", "step")
        if self.left == 0:
            raise Killed


class Keeping:
    """Makes the keeper of a fit: `keeper(group, share)`; of one that is killed after so many sweeps, or never."""

    def __init__(self, folder, kill_after=None):
        self.folder, self.kill_after = str(folder), kill_after

    def __call__(self, group, share):
        keeper = _Deadly(self.folder, share, {"rank": 3}, "digest")
        keeper.left = -1 if self.kill_after is None else self.kill_after
        return keeper
