"""The CUDA kernels without a GPU: their own source run on the processor, and what the compiler says of them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parent.parent / "csrc"
ARCHITECTURES = ("80", "90")


def compiled(*command: object) -> str:
    run = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ to compile the kernels for the processor")
def test_kernels_equal_the_core_and_stay_within_their_arrays(tmp_path):
    """Every width and form, empty and long lines, by a stand-in for CUDA; ASan and UBSan end the program."""
    common = ("g++", "-std=c++20", "-O1", "-fopenmp", "-Wno-psabi")
    oracle = [tmp_path / "core.o", tmp_path / "runtime.o"]
    for source, target in zip(("masked_product_cpu.cpp", "runtime.cpp"), oracle, strict=True):
        compiled(*common, "-c", CSRC / source, "-o", target)
    sanitized = (
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        "-Wall",
        "-Wextra",
        "-Wno-unknown-pragmas",
    )
    program = tmp_path / "stand_in"
    compiled(*common, *sanitized, CSRC / "lab" / "cuda_stand_in_test.cpp", *oracle, "-o", program)
    run = subprocess.run([program], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "0 differences\n"), run.stdout + run.stderr


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="there is no nvcc to compile the kernels for a GPU")
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_without_warnings_and_stay_in_registers(architecture, tmp_path):
    said = compiled(
        "nvcc", "-std=c++17", "-O3", f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
        "-Werror", "all-warnings", "-Xptxas", "-v", "-c", CSRC / "masked_product_cuda.cu", "-o", tmp_path / "kernels.o",
    )  # fmt: skip
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill", said)]
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", said)]
    assert len(registers) > 50
    assert set(spills) == {0}
    assert max(registers) <= 128  # four blocks of 128 threads on a multiprocessor, at the least
