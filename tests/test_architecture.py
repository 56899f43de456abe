"""House rules that import-linter (pyproject.toml) cannot say: doors of outside libraries, tests, light imports."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dmc

ROOT = Path(__file__).parent.parent
PACKAGE = Path(dmc.__file__).parent

# Outside libraries that may enter only here: a module, or a package.
DOORS = {
    "numba": {"kernels/numba_cpu"},
    "torch": {
        "_arrays",
        "distributed/group",
        "nn",
        "kernels/operators",
        "kernels/torch_functions",
        "kernels/torch_operators",
        "kernels/torch_compiled",
    },
    "matplotlib": {"plots"},
    "PIL": {"plots"},
    "pandas": set(),
    "polars": set(),
    "pyarrow": {
        "cli/writers",
        "distributed/arrow",
        "integrations/spark",
        "recommend/export",
        "recommend/tables/parquet",
    },
    "pyspark": {"integrations/spark"},
    "narwhals": {"recommend/tables/table"},
    "typer": {"cli"},
    "tqdm": {"solver/callbacks"},
    "safetensors": set(),
    "lenskit": {"integrations/lenskit"},
    "pydantic": {"integrations/lenskit"},
    "cornac": {"integrations/cornac"},
    "surprise": {"integrations/surprise"},
    "pickle": set(),
}


def modules() -> dict[str, Path]:
    """Every Python file of the package, by its name without `dmc.`, folders with a slash."""
    files = {p.relative_to(PACKAGE).with_suffix("").as_posix(): p for p in PACKAGE.rglob("*.py")}
    files.pop("__init__")
    return files


def imports(path: Path) -> list[str]:
    """Absolute names of all that a file imports, wherever in the file the import stands."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def test_the_compiled_modules_have_one_door() -> None:
    compiled = {"dmc._core", "dmc._cuda"}
    users = {m for m, path in modules().items() if any(".".join(n.split(".")[:2]) in compiled for n in imports(path))}
    assert users == {"_extensions"}


@pytest.mark.parametrize("library", sorted(DOORS))
def test_doors(library: str) -> None:
    users = {m for m, path in modules().items() if any(n.split(".")[0] == library for n in imports(path))}
    strangers = {m for m in users if not {m, *(p.as_posix() for p in Path(m).parents)} & DOORS[library]}
    assert not strangers, f"{library} enters through {strangers}; its door is {DOORS[library]}"


def test_every_module_has_a_test_file() -> None:
    tests = {p.relative_to(ROOT / "tests").as_posix() for p in (ROOT / "tests").rglob("test_*.py")}
    wanted = set()
    for module in modules():
        folder, _, name = module.rpartition("/")
        if name != "__init__":
            wanted.add(f"{folder}/test_{name.strip('_')}.py".removeprefix("/"))
    assert wanted <= tests, f"no test file: {sorted(wanted - tests)}"


@pytest.mark.parametrize("module", sorted(modules()))
def test_names_that_say_nothing_are_not_used(module: str) -> None:
    assert not set(Path(module).parts) & {"utils", "util", "helpers", "base", "types", "config", "misc", "common"}


def test_the_wheel_holds_every_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = {".".join(p.parent.relative_to(PACKAGE.parent).parts) for p in PACKAGE.rglob("__init__.py")}
    assert set(project["tool"]["setuptools"]["packages"]) == found


def test_import_is_light() -> None:
    """`import dmc` loads none of the heavy libraries, and neither does touching the names that need none of them.

    Nor does it change what Ctrl-C does, which is for the program alone.
    """
    code = (
        "import sys, dmc; dir(dmc); dmc.__version__;"
        "heavy = {'torch', 'numba', 'matplotlib', 'pandas', 'sklearn', 'scipy', 'polars', 'pyarrow', 'narwhals'};"
        "print(sorted(heavy & set(sys.modules)));"
        "import signal; assert signal.getsignal(signal.SIGINT) is not signal.SIG_DFL"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    missing = [name for name in dmc.__all__ if not hasattr(dmc, name)]
    assert dmc.__all__
    assert not missing
