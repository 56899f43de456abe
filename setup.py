"""Which extensions to build; nothing else. The install succeeds without a compiler: numba then does the work."""

import os
import platform
from glob import glob

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import setup

# Not -ffast-math: linked by g++ it would switch on flush-to-zero for the whole Python process at import.
MATH = [
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fassociative-math",
    "-fno-signed-zeros",
    "-freciprocal-math",
]
SANITIZER = os.environ.get("DMC_SANITIZE")  # for instance "address,undefined", or "thread"
SANITIZE = [f"-fsanitize={SANITIZER}", "-fno-sanitize-recover=all", "-g", "-O1"] if SANITIZER else []
OPENMP = [] if platform.system() == "Darwin" else ["-fopenmp"]  # Apple's clang has none


def extensions() -> list[Pybind11Extension]:
    wish = os.environ.get("DMC_CORE", "")
    if wish == "0":
        return []
    core = Pybind11Extension(
        "dmc._core",
        sorted(glob("csrc/*.cpp")),
        depends=glob("csrc/*.h"),
        cxx_std=17,
        extra_compile_args=["-O3", "-Wall", "-Wextra", "-Wno-psabi", *MATH, *OPENMP, *SANITIZE],
        extra_link_args=[*OPENMP, *SANITIZE],
    )
    core.optional = wish != "1"
    return [core]


ParallelCompile(default=0).install()  # 0: as many files at a time as there are cores
setup(ext_modules=extensions())
