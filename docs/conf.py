"""How the site is built: `make docs`."""

from importlib.metadata import version as installed

project = "dmc"
author = "the dmc developers"
release = version = installed("dmc")

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.intersphinx"]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
