"""Runs tests as a user's install has it: python test_installed.py FOLDER [--constraint FILE] [PYTEST ARGUMENTS].

FOLDER has one sdist and one wheel. In an empty environment outside the tree the wheel is installed with what the tests
want; they come from the sdist, whose own dmc/ is taken away, so that nothing but the installed package can be imported.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--constraint", type=Path)
    given, arguments = parser.parse_known_args()
    (wheel,) = given.folder.glob("*.whl")
    with tempfile.TemporaryDirectory(prefix="dmc-installed-") as temporary:
        python = installed(wheel.resolve(), Path(temporary) / "environment", given.constraint)
        tree = unpacked(given.folder, Path(temporary))
        subprocess.run([python, "-m", "dmc", "doctor"], cwd=tree, check=True)
        # The second is asked for by scikit-learn's tests of estimators on torch's arrays, before its 1.8.
        wished = {"OMP_NUM_THREADS": "1", "SCIPY_ARRAY_API": "1"}
        command = [python, "-m", "pytest", "-q", *(arguments or ["tests"])]
        return subprocess.run(command, cwd=tree, env=os.environ | wished).returncode


def installed(wheel: Path, folder: Path, constraint: Path | None) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    environment = dict(os.environ)
    if constraint:
        environment["PIP_CONSTRAINT"] = str(constraint.resolve())
    install = [python, "-m", "pip", "install", "--quiet", f"{wheel}[test]"]
    subprocess.run(install, env=environment, check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True)
    return python


def unpacked(folder: Path, target: Path) -> Path:
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(target, filter="data")
    tree = target / sdist.name.removesuffix(".tar.gz")
    shutil.rmtree(tree / "dmc")
    return tree


if __name__ == "__main__":
    sys.exit(main())
