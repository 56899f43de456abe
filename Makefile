# make demo | make test | make bench: each sets up .venv by itself, from the pinned versions in constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
CORE := pyproject.toml setup.py constraints.txt $(wildcard csrc/*.cpp csrc/*.h)
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test bench lint format sanitize clean

demo: .venv/.plot
	$(BIN)/dmc demo

test: .venv/.test
	$(BIN)/python -m pytest --cov --cov-report=term

bench: .venv/.test
	$(BIN)/dmc bench all

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror csrc/*.cpp csrc/*.h

format: .venv/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i csrc/*.cpp csrc/*.h

# The kernels' own tests with the core under AddressSanitizer and UndefinedBehaviorSanitizer.
SANITIZERS := $(foreach lib,libasan.so libubsan.so libstdc++.so,$(shell g++ -print-file-name=$(lib)))
sanitize: .venv/.test
	DMC_CORE=1 DMC_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-lib build/sanitized --build-temp build/sanitized-objects
	LD_PRELOAD="$(SANITIZERS)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(CURDIR)/build/sanitized \
		$(BIN)/pytest --quiet tests/test_native.py tests/test_serving.py

# One environment for all; each stamp says which extras are in it. DMC_CORE=1: a core that does not build is an error.
.venv/.%: $(CORE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	DMC_CORE=1 $(BIN)/python -m pip install --quiet --editable '.[$*]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info dmc/*.so
