"""Modules under the names that they had before: imports of those find them where they are now."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Public names of modules that live in a package: `dmc.steps` and `import dmc.steps` are the same.
PUBLIC = {
    "dmc.callbacks": "dmc.solver.callbacks",
    "dmc.evaluation": "dmc.recommend.evaluation",
    "dmc.initial": "dmc.solver.initial",
    "dmc.rank_path": "dmc.solver.rank_path",
    "dmc.steps": "dmc.solver.steps",
}
# Old names, which go with the next release.
RENAMED = {"dmc.persistence": "dmc.model_file", "dmc.torch": "dmc.nn"}


class _Finder(MetaPathFinder, Loader):
    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}  # the modules' own

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in PUBLIC and fullname not in RENAMED:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = RENAMED.get(spec.name)
        if new is not None:
            warnings.warn(f"{spec.name} is now {new}; import that", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new or PUBLIC[spec.name])
        self._specs[module.__name__] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._specs[module.__name__]  # in place of that of the other name


def install() -> None:
    """Once, by `dmc` itself."""
    sys.meta_path.append(_Finder())
