"""The CUDA kernels and their binding without a GPU: their own source run on the processor, and what compilers say."""

import re
import subprocess

import numpy as np
import pytest

from cuda_stand_in import COMPILER, CSRC, INCLUDES, NVCC, Seen, compiled
from dmc import _extensions

ARCHITECTURES = ("80", "90")
without_nvcc = pytest.mark.skipif(NVCC is None, reason="there is no nvcc to compile the kernels for a GPU")


@pytest.mark.skipif(COMPILER is None, reason="there is no g++ to compile the kernels for the processor")
def test_kernels_equal_the_core_and_stay_within_their_arrays(tmp_path):
    """Every width and form, empty and long lines, by a stand-in for CUDA; ASan and UBSan end the program."""
    common = (COMPILER, "-std=c++20", "-O1", "-pthread", "-Wno-psabi")
    sources = ("masked_product_cpu", "runtime", "processors", "workers")
    oracle = [tmp_path / f"{source}.o" for source in sources]
    for source, target in zip(sources, oracle, strict=True):
        compiled(*common, "-c", CSRC / f"{source}.cpp", "-o", target)
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


@without_nvcc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_without_warnings_and_stay_in_registers(architecture, tmp_path):
    said = compiled(
        NVCC, "-std=c++17", "-O3", f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
        "-Werror", "all-warnings", "-Xptxas", "-v", "-c", CSRC / "masked_product_cuda.cu", "-o", tmp_path / "kernels.o",
    )  # fmt: skip
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill", said)]
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", said)]
    assert len(registers) > 50
    assert set(spills) == {0}
    assert max(registers) <= 128  # four blocks of 128 threads on a multiprocessor, at the least


@without_nvcc
def test_binding_compiles_without_warnings(tmp_path):
    """Against CUDA's own headers; `cuda_stand_in` compiles it against the stand-in, with warnings as errors too."""
    host = "--compiler-options=-fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror"
    warned = ("-std=c++17", "-Werror", "all-warnings", host)
    compiled(NVCC, *warned, *INCLUDES, "-c", CSRC / "bind_cuda.cpp", "-o", tmp_path / "bind.o")


@pytest.mark.skipif(_extensions.cuda is None, reason="dmc._cuda was not built: there was no nvcc")
def test_built_module_imports_and_words_what_is_missing():
    """No GPU is needed for the import; where there is none, or no driver, it says so."""
    assert _extensions.cuda.WIDTHS == (8, 16, 32, 64, 128, 256)
    obstacle = _extensions.cuda_obstacle()
    if obstacle is not None:
        assert obstacle.reason.startswith(("there is no NVIDIA", "the NVIDIA", "the GPU has", "CUDA does"))
        assert obstacle.remedy


@pytest.mark.parametrize(
    ("machine", "reason", "remedy"),
    [
        ({"DRIVER": 0}, "there is no NVIDIA driver", "install one"),
        (
            {"DRIVER": 12040},
            "the NVIDIA driver supports CUDA 12.4, and dmc._cuda was built with CUDA 13.0",
            "update the driver, or",
        ),
        ({"DEVICES": 0}, "the NVIDIA driver finds no GPU", "run nvidia-smi, and check CUDA_VISIBLE_DEVICES"),
        ({"ERROR": 999}, "CUDA does not start (an error of the stand-in)", "run nvidia-smi"),
        ({"CAPABILITY": 75}, "the GPU has compute capability 7.5 and the kernels need 8.0", "plain torch is used"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_every_obstacle_has_its_words(machine, reason, remedy, cuda_stand_in, monkeypatch):
    assert cuda_stand_in.obstacle() is None
    for name, number in machine.items():
        monkeypatch.setenv(f"STAND_IN_{name}", str(number))
    found = cuda_stand_in.obstacle()
    assert found[0] == reason
    assert found[1].startswith(remedy)


def test_a_gpu_that_is_not_there_is_an_obstacle(cuda_stand_in):
    assert cuda_stand_in.obstacle(1)[0] == "the NVIDIA driver finds no GPU with number 1"


# Two lines, of two entries and of none, against three of the other side; the first is cut into two segments.
def lines_arguments():
    return {
        "indices": Seen(np.array([0, 2], np.int32)),
        "light": Seen(np.array([[0, 0, 1, 0], [0, 1, 2, 1], [1, 2, 2, -1]])),
        "heavy": Seen(np.empty((0, 4), np.int64)),
        "long_lines": Seen(np.array([[0, 0, 2]])),
        "lines": 2,
        "other_lines": 3,
        "partials": 2,
    }


def gradient_arguments(module):
    return {
        "lines": module.Lines(**lines_arguments()),
        "own": Seen(np.ones((2, 8), np.float32)),
        "other": Seen(aligned(np.ones((3, 8), np.float32))),
        "form": "float32",
        "target": Seen(np.zeros(2, np.float32)),
        "weights": Seen(np.ones(2, np.float32)),
        "d_own": Seen(np.zeros((2, 8), np.float32)),
        "loss": Seen(np.zeros(())),
        "losses": Seen(np.zeros(3 + module.LOSS_SUMS)),
        "partials": Seen(np.zeros((2, 8), np.float32)),
        "stream": 0,
    }


def aligned(array, offset=0):
    """A copy that starts at a multiple of 16 bytes, or so many beyond."""
    room = np.empty(array.nbytes + 32, np.uint8)
    start = -room.ctypes.data % 16 + offset
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def test_binding_takes_what_is_right(cuda_stand_in):
    given = gradient_arguments(cuda_stand_in)
    cuda_stand_in.residual_gradient(**given)
    assert given["loss"].array == 64.0  # ½ · 2 entries · (1·1·8)²
    np.testing.assert_array_equal(given["d_own"].array, [[16] * 8, [0] * 8])
    cuda_stand_in.residual_gradient(**{**given, "loss": None, "weights": None})
    out = Seen(np.zeros(2, np.float32))
    cuda_stand_in.masked_product(given["lines"], given["own"], given["other"], "float32", out, 0)
    np.testing.assert_array_equal(out.array, [8, 8])


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"indices": np.zeros(2, np.int32)}, TypeError, "indices is of type ndarray; it has to be a CUDA tensor"),
        ({"indices": Seen(np.zeros(2))}, TypeError, "indices holds numbers of type <f8; give <i4"),
        ({"indices": Seen(np.zeros((2, 1), np.int32))}, ValueError, r"shape \(2, 1\); it has to be \(any,\)"),
        ({"light": Seen(np.zeros((2, 3), int))}, ValueError, r"light has shape \(2, 3\); it has to be \(any, 4\)"),
        ({"heavy": Seen(np.zeros((4, 2), int).T)}, ValueError, "heavy is not contiguous in row order"),
        ({"long_lines": Seen(np.zeros(3, int))}, ValueError, r"long_lines has shape \(3,\); it has to be \(any, 3\)"),
        ({"other_lines": -1}, ValueError, "other_lines is -1; give 0 or more"),
        ({"lines": 4}, ValueError, "there are 3 segments for 4 rows; each row needs one"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_lines_refuse(changes, error, said, cuda_stand_in):
    with pytest.raises(error, match=said):
        cuda_stand_in.Lines(**{**lines_arguments(), **changes})


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"form": "float8"}, ValueError, "form is 'float8'; give float32, float64, bfloat16 or float16"),
        ({"form": "float64"}, TypeError, "own holds numbers of type <f4; give <f8"),
        ({"form": "bfloat16"}, TypeError, "other holds numbers of type <f4; give <i2"),
        ({"form": "float16"}, TypeError, "other holds numbers of type <f4; give <f2"),
        ({"own": Seen(np.ones((2, 16), np.float32))}, ValueError, r"other has shape \(3, 8\); it has to be \(3, 16\)"),
        ({"own": Seen(np.ones((3, 8), np.float32))}, ValueError, r"own has shape \(3, 8\); it has to be \(2, any\)"),
        ({"other": Seen(np.ones((3, 16), np.float32)[:, ::2])}, ValueError, "other is not contiguous in row order"),
        ({"other": Seen(aligned(np.ones((3, 8), np.float32), 4))}, ValueError, "other is not aligned to 16 bytes"),
        ({"target": Seen(np.ones(3, np.float32))}, ValueError, r"target has shape \(3,\); it has to be \(2,\)"),
        ({"weights": Seen(np.ones(3, np.float32))}, ValueError, r"weights has shape \(3,\); it has to be \(2,\)"),
        ({"d_own": Seen(np.ones((2, 7), np.float32))}, ValueError, r"d_own has shape \(2, 7\); it has to be \(2, 8\)"),
        ({"d_own": Seen(np.ones((2, 8), np.float32), data=(64, True))}, ValueError, "d_own is read-only"),
        ({"loss": Seen(np.ones(1))}, ValueError, r"loss has shape \(1,\); it has to be \(\)"),
        ({"losses": Seen(np.ones(3))}, ValueError, r"losses has shape \(3,\); it has to be \(259,\)"),
        ({"partials": Seen(np.ones((1, 8), np.float32))}, ValueError, r"partials has shape \(1, 8\); it has to be"),
        ({"target": None}, TypeError, "target is of type NoneType; it has to be a CUDA tensor"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_binding_refuses(changes, error, said, cuda_stand_in):
    given = {**gradient_arguments(cuda_stand_in), **changes}
    with pytest.raises(error, match=said):
        cuda_stand_in.residual_gradient(**given)


def test_a_width_that_the_kernels_do_not_have_is_refused(cuda_stand_in):
    given = gradient_arguments(cuda_stand_in)
    own, other = (Seen(aligned(np.ones((n, 12), np.float32))) for n in (2, 3))
    out = Seen(np.zeros(2, np.float32))
    with pytest.raises(ValueError, match="the factors have 12 columns; pad them"):
        cuda_stand_in.masked_product(given["lines"], own, other, "float32", out, 0)
    half = Seen(aligned(np.ones((3, 12), np.float16)))
    with pytest.raises(ValueError, match="the product needs float32 or float64"):
        cuda_stand_in.masked_product(given["lines"], own, half, "float16", out, 0)


def test_what_cuda_reports_becomes_an_exception(cuda_stand_in, monkeypatch):
    given = gradient_arguments(cuda_stand_in)
    monkeypatch.setenv("STAND_IN_ERROR", "700")
    with pytest.raises(RuntimeError, match=r"CUDA could not start the masked product \(an error of the stand-in\)"):
        cuda_stand_in.residual_gradient(**given)
