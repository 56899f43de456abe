"""The house rules: who may import whom, which outside library enters by which door, a test file for every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dmc"

# Rows from the roof down: a module imports only from rows below its own.
ROWS = [
    {"__main__"},
    {"cli", "integrations"},
    {"model_commands"},
    {"report"},
    {"evaluation", "titles", "page"},
    {"recommender", "plots", "torch"},
    {"recommender_files", "ensemble"},
    {"recommending", "list_ranking"},
    {"recommender_state"},
    {"completion"},
    {"rating_network", "preferences", "noise_free"},
    {"solver", "callbacks", "dense_problems", "distributed", "initial", "datasets", "preference_search"},
    {"rank_path", "bayesian", "all_pairs"},
    {"bayesian_model"},
    {"problem", "side", "steps", "solution", "diagnostics", "metrics", "ratings", "persistence", "intervals"},
    {"alternating", "pattern_features", "row_solve"},
    {"kernels", "gauss_newton", "posterior"},
    {"torch_ops", "observing"},
    {"observations", "factors", "parquet", "rating_files", "torch_compiled"},
    {"pattern"},
    {"_devices"},
    {"_checks", "_compiled", "terminal"},
]
# The compiled modules are not rooms; each has one door.
COMPILED = {"_core", "_cuda"}

# Outside libraries that may enter only here. `kernels/…` names a file of the folder.
DOORS = {
    "numba": {"kernels/numba_cpu"},
    "torch": {"torch", "torch_ops", "torch_compiled", "distributed", "_devices"},
    "matplotlib": {"plots"},
    "PIL": {"plots"},
    "pandas": set(),
    "polars": set(),
    "pyarrow": {"persistence", "parquet"},
    "narwhals": {"ratings"},
    "typer": {"cli", "model_commands", "terminal"},
    "tqdm": {"callbacks"},
    "safetensors": {"persistence"},
    "lenskit": {"integrations/lenskit"},
    "pydantic": {"integrations/lenskit"},
    "cornac": {"integrations/cornac"},
    "surprise": {"integrations/surprise"},
    "pickle": set(),
}


def modules() -> dict[str, Path]:
    """Every Python file of the package but the package's face, by its name without `dmc.`, folders with a slash."""
    files = {p.relative_to(PACKAGE).with_suffix("").as_posix(): p for p in PACKAGE.rglob("*.py")}
    files.pop("__init__")
    return files


def imports(path: Path) -> list[str]:
    """Absolute names of all that a file imports, wherever in the file the import stands (type checking apart)."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    package = parts[:-1]
    names = []
    tree = ast.parse(path.read_text())
    skip = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skip:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names += [f"{stem}.{alias.name}" for alias in node.names] if stem.split(".")[0] == "dmc" else [stem]
    return names


def room(module: str) -> str:
    return module.split("/")[0]


def row(name: str) -> int:
    found = [i for i, names in enumerate(ROWS) if name in names]
    assert found, f"dmc/{name}.py stands in no row of the plan; give it one in tests/test_architecture.py"
    return found[0]


def internal(path: Path) -> set[str]:
    """The rooms that a file imports."""
    known = {room(m) for m in modules()} | {"kernels"} | COMPILED
    hits = set()
    for name in imports(path):
        head, *rest = name.split(".")
        if head == "dmc":
            hits |= {part for part in rest[:1] if part in known}
    return hits


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_point_downwards(module: str) -> None:
    here = row(room(module))
    for target in internal(modules()[module]) - COMPILED - {room(module)}:
        assert row(target) > here, f"dmc/{module}.py may not import dmc.{target}: it stands in the same row or above"


@pytest.mark.parametrize("module", sorted(m for m in modules() if m.startswith("kernels/") and "__init__" not in m))
def test_kernels_do_not_know_each_other(module: str) -> None:
    siblings = {m.split("/")[1] for m in modules() if m.startswith("kernels/")} - {"__init__", module.split("/")[1]}
    taken = {name.split(".")[-1] for name in imports(modules()[module]) if name.startswith("dmc.kernels")}
    assert not taken & siblings


def test_integrations_come_in_on_demand_only() -> None:
    """Nothing of ours imports an adapter, one of its siblings neither; the folder's own file has no code."""
    users = {m for m, path in modules().items() if any(n.startswith("dmc.integrations") for n in imports(path))}
    assert not users
    assert len(ast.parse(modules()["integrations/__init__"].read_text()).body) == 1


def test_the_compiled_core_has_one_door() -> None:
    users = {m for m, path in modules().items() if internal(path) & COMPILED}
    assert users <= {"_compiled"}


def test_solver_meets_kernels_callbacks_and_processes_only_through_what_it_is_handed() -> None:
    assert not internal(modules()["solver"]) & {"kernels", "callbacks", "distributed"}


@pytest.mark.parametrize("library", sorted(DOORS))
def test_doors(library: str) -> None:
    users = {m for m, path in modules().items() if any(n.split(".")[0] == library for n in imports(path))}
    assert users <= DOORS[library], f"{library} enters through {users - DOORS[library]}; its door is {DOORS[library]}"


def test_every_module_has_a_test_file() -> None:
    wanted = {"test_kernels.py"}
    for module in modules():
        folder, _, name = module.rpartition("/")
        if name != "__init__":
            wanted.add(f"{'integrations/' if folder == 'integrations' else ''}test_{name.strip('_')}.py")
    present = {p.relative_to(ROOT / "tests").as_posix() for p in (ROOT / "tests").rglob("test_*.py")}
    assert wanted <= present, f"no test file: {sorted(wanted - present)}"


@pytest.mark.parametrize("module", sorted(modules()))
def test_names_that_say_nothing_are_not_used(module: str) -> None:
    assert not set(Path(module).parts) & {"utils", "util", "helpers", "base", "types", "config", "misc", "common"}


def test_one_door_out_of_each_folder() -> None:
    folders = {p.parent.name for p in PACKAGE.rglob("*.py")} - {"dmc"}
    assert folders <= {"kernels", "integrations", "completion"}


def test_import_is_light() -> None:
    """`import dmc` loads none of the heavy libraries, and neither does touching the names that need none of them."""
    code = (
        "import sys, dmc; dir(dmc); dmc.__version__;"
        "heavy = {'torch', 'numba', 'matplotlib', 'pandas', 'sklearn', 'scipy', 'polars', 'pyarrow', 'narwhals'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_public_names_resolve() -> None:
    import dmc

    missing = [name for name in dmc.__all__ if not hasattr(dmc, name)]
    assert dmc.__all__
    assert not missing
