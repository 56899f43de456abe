"""Builds the sdist, and from it the wheel, the same bytes for a commit: python build_packages.py sdist|wheel FOLDER.

SOURCE_DATE_EPOCH is the time that everything in them carries; the tools are pinned in constraints.txt beside this file.
On Linux a wheel with the core is repaired by auditwheel, which refuses one that no manylinux tag fits.
"""

import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(kind: str, folder: str) -> None:
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for old in (*target.glob("*.whl"), *target.glob("*.tar.gz")):
        old.unlink()
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        sdist = normalised(build_sdist(made), target)
        print(sdist)
        if kind == "wheel":
            run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", made, sdist)
            (wheel,) = made.glob("*.whl")
            print(finished(wheel, target))


def build_sdist(made: Path) -> Path:
    """From a clean copy: an sdist of the tree itself would hold what an earlier *.egg-info lists."""
    copy = made / "tree"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:  # an unpacked sdist
        copy = ROOT
    else:
        for name in filter(None, tracked.stdout.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                (copy / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", made, copy)
    (sdist,) = made.glob("*.tar.gz")
    return sdist


def normalised(sdist: Path, target: Path) -> Path:
    """The same archive with sorted names, one time, no owner: setuptools writes the checkout's."""
    time = int(os.environ["SOURCE_DATE_EPOCH"])
    held = io.BytesIO()
    with tarfile.open(sdist) as old, tarfile.open(fileobj=held, mode="w", format=tarfile.PAX_FORMAT) as new:
        for entry in sorted(old.getmembers(), key=lambda member: member.name):
            entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = time, 0, 0, "", ""
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
            entry.pax_headers = {}
            new.addfile(entry, old.extractfile(entry) if entry.isfile() else None)
    made = target / sdist.name
    with made.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=time) as packed:
        packed.write(held.getvalue())
    return made


def finished(wheel: Path, target: Path) -> Path:
    if wheel.name.endswith("-none-any.whl") or sys.platform != "linux":
        return Path(shutil.move(wheel, target / wheel.name))
    run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", target, wheel)
    (repaired,) = target.glob("*.whl")
    run(sys.executable, "-m", "auditwheel", "show", repaired)
    if "manylinux" not in repaired.name:
        raise SystemExit(f"{repaired.name} satisfies no manylinux policy; see what auditwheel says of it above")
    return repaired


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
