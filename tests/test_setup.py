"""What setup.py builds, what it says where it cannot, and that a source distribution holds all that it takes."""

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parent.parent
FROM_SOURCE = pytest.mark.skipif(
    not (ROOT / "dmc").is_dir(), reason="an installed dmc is tested: there is no source tree"
)
CUDA = ("CUDA_HOME", "CUDA_PATH", "DMC_CUDA", "DMC_CORE", "DMC_SANITIZE")


@pytest.fixture
def clean(monkeypatch):
    """An environment that wishes nothing, and a nvcc nowhere but where a test puts one."""
    for name in CUDA:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(ROOT)
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, path: which(name, path=path.split(os.pathsep)[0]))
    return monkeypatch


def extensions(monkeypatch):
    """By name, whether each extension is optional."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **keywords: given.update(keywords))
    runpy.run_path("setup.py")
    return {extension.name: extension.optional for extension in given["ext_modules"]}


def nvcc(folder, script="exit 0"):
    """A toolkit's folder with a nvcc that does so."""
    (folder / "bin").mkdir()
    program = folder / "bin" / "nvcc"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def test_without_nvcc_there_is_the_core_alone(clean):
    clean.setenv("CUDA_HOME", "/nowhere")
    assert extensions(clean) == {"dmc._core": True}
    clean.setenv("DMC_CUDA", "1")
    with pytest.raises(SystemExit, match="DMC_CUDA is 1 and there is no nvcc; install a CUDA toolkit, or name it in"):
        extensions(clean)


@pytest.mark.parametrize("name", ["CUDA_HOME", "CUDA_PATH"])
def test_wishes(name, clean, tmp_path):
    clean.setenv(name, nvcc(tmp_path))
    assert extensions(clean) == {"dmc._core": True, "dmc._cuda": True}
    clean.setenv("DMC_CUDA", "1")
    assert extensions(clean) == {"dmc._core": True, "dmc._cuda": False}
    clean.setenv("DMC_CUDA", "0")
    assert extensions(clean) == {"dmc._core": True}
    clean.setenv("DMC_CUDA", "1")
    clean.setenv("DMC_SANITIZE", "thread")  # what runs under the sanitizers is the core
    assert extensions(clean) == {"dmc._core": True}


def build(folder, **wishes):
    environment = {**os.environ, "DMC_CORE": "0", "CUDA_HOME": str(folder), **wishes}
    command = (sys.executable, "setup.py", "build_ext", "--build-lib", folder / "lib", "--build-temp", folder / "temp")
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_nvcc_that_fails_is_an_error_only_where_cuda_is_wished_for(clean, tmp_path):
    nvcc(tmp_path, "echo 'no kernel today' >&2; exit 3")
    by_itself = build(tmp_path)
    assert by_itself.returncode == 0
    assert "no kernel today" in by_itself.stderr
    assert build(tmp_path, DMC_CUDA="1").returncode != 0


def test_nvcc_is_asked_for_fixed_architectures_and_a_static_runtime(clean, tmp_path):
    nvcc(tmp_path, f'echo "$@" > {tmp_path}/asked')
    assert build(tmp_path, DMC_CUDA="1").returncode == 0
    asked = (tmp_path / "asked").read_text()
    for part in ("arch=compute_80,code=sm_80", "arch=compute_90,code=[sm_90,compute_90]", "--cudart=static"):
        assert part in asked
    for source in ("csrc/bind_cuda.cpp", "csrc/masked_product_cuda.cu"):
        assert source in asked


@FROM_SOURCE
def test_a_source_distribution_holds_all_that_it_takes(clean, tmp_path):
    """Also where no nvcc is found, and the CUDA sources are of no extension."""
    command = (sys.executable, "setup.py", "egg_info", "--egg-base", tmp_path, "sdist", "--dist-dir", tmp_path)
    environment = {**os.environ, "DMC_CUDA": "0", "DMC_CORE": "0"}
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as held:
        names = {name.partition("/")[2] for name in held.getnames()}
    kinds = ("csrc/**/*.h", "csrc/**/*.cpp", "csrc/*.cu", "dmc/**/*.py", "tests/*.py", "bench/*.py", "bench/results/*")
    wanted = {p.relative_to(ROOT).as_posix() for kind in kinds for p in ROOT.glob(kind)}
    wanted |= {
        "dmc/__init__.pyi",
        "dmc/py.typed",
        "setup.py",
        "pyproject.toml",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "constraints.txt",
        "tests/constraints-oldest.txt",
        "packaging/packages.mk",
        "packaging/constraints.txt",
        "conda.recipe/meta.yaml",
        "CITATION.cff",
        "RELEASING.md",
        "dmc/_core.pyi",
        "dmc/_cuda.pyi",
    }
    assert "csrc/lab/cuda_stand_in.h" in wanted
    assert not wanted - names
