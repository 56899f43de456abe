"""Which extensions to build; nothing else. The install succeeds without a compiler: numba then does the work.

DMC_CORE and DMC_CUDA: 0 leaves an extension out, 1 makes it an error that it cannot be built.
"""

import os
import platform
import shutil
import sysconfig
from glob import glob

import pybind11
from pybind11.setup_helpers import ParallelCompile, Pybind11Extension
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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
# Threads of the core wait in its code until the process ends: it is never unmapped.
LINK = ["-pthread"] + (["-Wl,-z,nodelete"] if platform.system() == "Linux" else [])

# Fixed, whatever GPU is there: machine code for two generations, and PTX that the driver compiles for later ones.
GENCODE = ["-gencode=arch=compute_80,code=sm_80", "-gencode=arch=compute_90,code=[sm_90,compute_90]"]
CUDA_SOURCES = ["csrc/bind_cuda.cpp", "csrc/masked_product_cuda.cu"]


def extensions() -> list[Extension]:
    found = []
    if (wish := os.environ.get("DMC_CORE", "")) != "0":
        core = Pybind11Extension(
            "dmc._core",
            sorted(set(glob("csrc/*.cpp")) - set(CUDA_SOURCES)),
            depends=glob("csrc/*.h"),
            cxx_std=17,
            extra_compile_args=["-O3", "-Wall", "-Wextra", "-Wno-psabi", "-pthread", *MATH, *SANITIZE],
            extra_link_args=[*LINK, *SANITIZE],
        )
        core.optional = wish != "1"
        found.append(core)
    if (wish := os.environ.get("DMC_CUDA", "")) != "0" and not SANITIZER:
        if nvcc():
            found.append(Extension("dmc._cuda", CUDA_SOURCES, depends=glob("csrc/*.h"), optional=wish != "1"))
        elif wish == "1":
            raise SystemExit("DMC_CUDA is 1 and there is no nvcc; install a CUDA toolkit, or name it in CUDA_HOME")
    return found


def nvcc() -> str | None:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    places = [os.path.join(home, "bin") for home in homes if home]
    path = [*places, os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]
    return shutil.which("nvcc", path=os.pathsep.join(path))


class Build(build_ext):
    """dmc._cuda by nvcc alone, which knows where its own headers and libraries are."""

    def build_extension(self, ext: Extension) -> None:
        if ext.name != "dmc._cuda":
            super().build_extension(ext)
            return
        target = self.get_ext_fullpath(ext.name)
        self.mkpath(os.path.dirname(target))
        includes = [f"-I{pybind11.get_include()}", f"-I{sysconfig.get_path('include')}"]
        options = ["-std=c++17", "-O3", "--threads=0", "--cudart=static", "--shared", *GENCODE]
        options += ["--compiler-options=-fPIC,-fvisibility=hidden,-Wall,-Wextra"]
        self.spawn([nvcc(), *options, *includes, *ext.sources, "-o", target])


ParallelCompile(default=0).install()  # 0: as many files at a time as there are cores
setup(ext_modules=extensions(), cmdclass={"build_ext": Build})
