"""The door to the compiled core keeps the reason where there is none."""

import subprocess
import sys


def test_reason_is_kept_where_the_core_was_not_built():
    """As after an install without a compiler: the module is not there at all."""
    code = (
        "import sys; sys.modules['dmc._core'] = None\n"
        "from dmc import kernels\n"
        "print(kernels.chosen(), '|', kernels.report()[0].reason)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "numba | its module dmc._core was not built"


def test_reason_is_kept_where_the_core_does_not_load(tmp_path):
    """As with a library that is missing: the module is there, and its import fails in its own words."""
    (tmp_path / "broken.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    code = (
        "import sys, importlib.util, dmc\n"
        f"spec = importlib.util.spec_from_file_location('dmc._core', {(tmp_path / 'broken.py').as_posix()!r})\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None): return spec if name == 'dmc._core' else None\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from dmc import _compiled; print(_compiled.missing)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "dmc._core does not load (libgomp.so.1: cannot open shared object file)"
