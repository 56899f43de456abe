"""The door to the compiled code keeps the reason where one of its modules is missing."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dmc import _extensions

ROOT = Path(__file__).parent.parent
PACKAGE = Path(_extensions.__file__).parent


def said(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_reason_is_kept_where_the_core_was_not_built():
    """As after an install without a compiler: the module is not there at all."""
    code = (
        "import sys; sys.modules['dmc._core'] = None\n"
        "from dmc import kernels\n"
        "print(kernels.chosen(), '|', kernels.report()[0].reason)"
    )
    other = "numba" if importlib.util.find_spec("numba") else "reference"  # free-threaded Python 3.13 has no numba
    assert said(code) == f"{other} | its module dmc._core was not built"


def test_reason_is_kept_where_the_cuda_kernels_were_not_built():
    """As after an install without nvcc."""
    code = (
        "import sys; sys.modules['dmc._cuda'] = None\nfrom dmc._extensions import *; print(*cuda_obstacle(), sep='|')"
    )
    assert said(code) == f"its module dmc._cuda was not built|{_extensions.CUDA_REMEDY}"


@pytest.mark.parametrize(
    ("module", "kept"), [("dmc._core", "_extensions.missing"), ("dmc._cuda", "_extensions.cuda_obstacle().reason")]
)
def test_reason_is_kept_where_a_module_does_not_load(module, kept, tmp_path):
    """As with a library that is missing: the module is there, and its import fails in its own words and its name."""
    (tmp_path / "broken.py").write_text(
        f"raise ImportError('libstdc++.so.6: cannot open shared object file', name={module!r})"
    )
    code = (
        "import sys, importlib.util, dmc\n"
        f"spec = importlib.util.spec_from_file_location({module!r}, {(tmp_path / 'broken.py').as_posix()!r})\n"
        "class Finder:\n"
        f"    def find_spec(self, name, path=None, target=None): return spec if name == {module!r} else None\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"from dmc import _extensions; print({kept})"
    )
    assert said(code) == f"{module} does not load (libstdc++.so.6: cannot open shared object file)"


def test_the_door_is_light():
    assert said("import sys; from dmc import _extensions; print('torch' in sys.modules)") == "False"


def functions(stub):
    """name → its parameters, as a stub has them."""
    tree = ast.parse((PACKAGE / stub).read_text())
    return {n.name: [a.arg for a in n.args.args] for n in tree.body if isinstance(n, ast.FunctionDef)}


def test_the_stub_of_the_core_is_that_of_the_core():
    core = _extensions.core
    found = {}
    for name in dir(core):
        if name.startswith("_") or isinstance(getattr(core, name), type):
            continue
        for signature in re.findall(rf"^(?:\d+\. )?{name}\((.*)\) -> ", getattr(core, name).__doc__, re.MULTILINE):
            found[name] = re.findall(r"(\w+): ", signature)
    assert functions("_core.pyi") == found


def test_the_stub_of_the_cuda_kernels_is_that_of_their_binding():
    source = (ROOT / "csrc" / "bind_cuda.cpp").read_text()
    bound = re.findall(r'm\.def\("(\w+)",(.*?)\);', source, re.DOTALL)
    assert functions("_cuda.pyi") == {name: re.findall(r'py::arg\("(\w+)"\)', rest) for name, rest in bound}
