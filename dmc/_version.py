"""The version: here and nowhere else. What repeats it (CITATION.cff, the conda recipe) is held to it by a test."""

__version__ = "0.1.0"
