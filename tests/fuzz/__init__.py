"""Fuzzers of the compiled core's binding, the readers and the loaders: `python -m fuzz` with tests/ on the path."""
