"""The core's threads for threadpoolctl: `threadpool_info` lists them, `threadpool_limits` limits them."""

from __future__ import annotations

import threadpoolctl

from dmc import _extensions


class CoreThreads(threadpoolctl.LibController):
    """The own threads of dmc._core. As with OpenMP, under whose name users and libraries limit them, a limit holds for
    the thread that sets it.
    """

    user_api = "openmp"
    internal_api = "dmc"
    filename_prefixes = ("_core",)
    check_symbols = ("dmc_get_num_threads", "dmc_set_num_threads")  # other packages have a _core, too

    def get_num_threads(self) -> int:
        return int(self.dynlib.dmc_get_num_threads())

    def set_num_threads(self, num_threads: int) -> None:
        self.dynlib.dmc_set_num_threads(num_threads)

    def get_version(self) -> None:
        return None


def register() -> None:
    """Register them with threadpoolctl, if there is a core."""
    if _extensions.core is not None:
        threadpoolctl.register(CoreThreads)
