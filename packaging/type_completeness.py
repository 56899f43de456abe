"""How much of the public interface has known types: python type_completeness.py PYTHON FOLDER; below 95 % fails.

pyright looks at the wheel in FOLDER, installed, beside the packages that PYTHON has.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LEAST = 0.95


def main(python: str, folder: str) -> int:
    (wheel,) = Path(folder).glob("*.whl")
    with tempfile.TemporaryDirectory() as temporary:
        environment = Path(temporary) / "environment"
        subprocess.run([python, "-m", "venv", "--without-pip", environment], check=True)
        report = verified(wheel, environment, site_packages(python))
    symbols = [symbol for symbol in report["symbols"] if symbol["isExported"] and not symbol["isTypeKnown"]]
    for symbol in symbols:
        for said in symbol["diagnostics"]:
            print(symbol["name"], " ".join(said["message"].split()), sep=": ")
    names = sum(report["exportedSymbolCounts"].values())
    print(f"{report['completenessScore']:.2%} of {names} public names; {LEAST:.0%} wanted")
    return int(report["completenessScore"] < LEAST)


def site_packages(python: str | Path) -> str:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def verified(wheel: Path, environment: Path, others: str) -> dict:
    own = Path(site_packages(environment / "bin" / "python"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(own)
    (own / "others.pth").write_text(others + "\n")
    command = ["pyright", "--verifytypes", "dmc", "--ignoreexternal", "--outputjson"]
    pyright = Path(sys.executable).parent / command[0]
    path = os.pathsep.join([str(environment / "bin"), os.environ["PATH"]])  # the Python that it asks is the first there
    found = subprocess.run(
        [pyright, *command[1:]], cwd=environment, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    return json.loads(found.stdout)["typeCompleteness"]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
