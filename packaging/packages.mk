# Packages: what a release consists of, and the checks that it has to pass (RELEASING.md says in which order).
# Everything lies in dist/; the tools have an environment of their own, .venv-packages.

TOOLS := .venv-packages/bin
# The time of the last commit: whoever builds the same commit gets the same bytes. In an unpacked sdist: that of its files.
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),$(shell stat -c %Y pyproject.toml))
RELEASE := PATH="$(CURDIR)/$(TOOLS):$$PATH" DMC_CUDA=0 SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH)
SYSTEM := $(shell uname -s)

.PHONY: dist wheel wheel-pure reproducible test-sdist test-wheel test-wheel-pure oldest types metadata

.venv-packages/.tools: packaging/constraints.txt
	test -x $(TOOLS)/python || $(PYTHON) -m venv .venv-packages
	PIP_CONSTRAINT=$(CURDIR)/packaging/constraints.txt $(TOOLS)/python -m pip install --quiet --requirement packaging/constraints.txt
	touch $@

# The sdist, from a clean copy of what git knows: nothing that lies about gets into it.
dist: .venv-packages/.tools
	$(RELEASE) $(TOOLS)/python packaging/build_packages.py sdist dist

# The sdist, and from it the wheel for this machine's Python, repaired to the oldest manylinux tag that it satisfies.
wheel: .venv-packages/.tools
	DMC_CORE=1 $(RELEASE) $(TOOLS)/python packaging/build_packages.py wheel dist

# Without the compiled core, for systems that have no wheel and no compiler: numba does the work.
wheel-pure: .venv-packages/.tools
	DMC_CORE=0 $(RELEASE) $(TOOLS)/python packaging/build_packages.py wheel dist/pure

# Both wheels and the sdist a second time, in another folder: the same bytes.
reproducible: wheel wheel-pure
	rm -rf build/again
	DMC_CORE=1 $(RELEASE) $(TOOLS)/python packaging/build_packages.py wheel build/again
	DMC_CORE=0 $(RELEASE) $(TOOLS)/python packaging/build_packages.py wheel build/again/pure
	cd build/again && find . -name '*.whl' -o -name '*.tar.gz' | xargs sha256sum | (cd $(CURDIR)/dist && sha256sum --check)

# The suite against what users install: an empty environment outside the tree, the tests from the sdist, its dmc/ taken
# away. TESTS: which.
TESTS ?= tests
test-wheel:
	$(PYTHON) packaging/test_installed.py dist $(TESTS)
test-wheel-pure:
	$(PYTHON) packaging/test_installed.py dist/pure tests/kernels tests/solver tests/completion tests/recommend tests/cli/test_installation.py

# The oldest versions that pyproject.toml admits. Examples in docstrings show numbers as NumPy 2 prints them.
oldest:
	$(PYTHON) packaging/test_installed.py dist --constraint tests/constraints-oldest.txt $(TESTS) --ignore tests/test_docstrings.py

# How much of the public interface pyright knows the types of, in the installed wheel; below 95 % fails.
types: .venv-packages/.tools .venv/.test
	$(TOOLS)/python packaging/type_completeness.py .venv/bin/python dist
