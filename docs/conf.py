"""How the site is built: `make docs`."""

import sys
from importlib.metadata import version as installed
from pathlib import Path
from shutil import copytree, rmtree

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"
sys.path.insert(0, str(HERE / "_extensions"))

project = "dmc"
author = "the dmc developers"
release = version = installed("dmc")

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "dark",
    "links",
    "mathml",
    "reference",
]
exclude_patterns = ["tutorials/*.rst", "**/*.ipynb", "auto_*/*.py"]
templates_path = ["_templates"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
default_role = "literal"  # `name` in a docstring; the extension `links` turns public names into links

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections have the types
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["cornac", "lenskit", "pyspark", "surprise"]  # which pin older versions of what the site needs
numpydoc_show_class_members = False  # autosummary's templates list them

# Tutorials run in a copy of their folder: they may write files, as a reader's would.
for stale in (BUILD / "tutorials", HERE / "api" / "generated"):
    rmtree(stale, ignore_errors=True)
copytree(HERE / "tutorials", BUILD / "tutorials")
sphinx_gallery_conf = {
    "examples_dirs": ["../build/tutorials", "../examples"],
    "gallery_dirs": ["auto_tutorials", "auto_examples"],
    "filename_pattern": "plot_",
    "ignore_pattern": "plot_metro_passengers",  # whose data readers do not have
    "within_subsection_order": "figures.DrawnFirst",
    "default_thumb_file": str(HERE / "_static" / "script.png"),
    "image_scrapers": ("matplotlib", "figures.scraper"),
    "reset_argv": "figures.arguments",
    "backreferences_dir": "api/backreferences",
    "doc_module": ("dmc",),
    "parallel": 2,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "min_reported_time": float("inf"),
}

html_theme = "pydata_sphinx_theme"
html_title = "dmc"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_logo = html_favicon = "_static/logo.svg"
html_context = {"default_mode": "auto"}
html_theme_options = {
    "logo": {"text": "dmc"},
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
