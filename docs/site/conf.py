"""How Sphinx builds the site of these docs: `make docs`, which makes every warning an error.

Pages are the Markdown files of docs/; index.md is the navigation as well; the reference of the code is read
from its docstrings without importing it. Built pages fetch nothing from a network.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
sys.path.insert(0, str(HERE))

import site_pages  # noqa: E402  (beside this file)

project = "The price of anarchy in disaggregated inference"
author = "The authors of this artifact"
project_copyright = "The authors of this artifact; Apache-2.0, recorded data CC BY 4.0"

extensions = ["sphinx.ext.autodoc", "myst_parser", "autoapi.extension", "sphinx_copybutton"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
root_doc = "index"
exclude_patterns = ["site"]
myst_heading_anchors = 4
# Two modules may each have a constant of one name; a default value that names it has two candidates.
suppress_warnings = ["ref.python"]
highlight_language = "text"  # an indented block is a formula
templates_path = ["templates"]

html_theme = "pydata_sphinx_theme"
html_title = "The price of anarchy in disaggregated inference"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sphinx = False
html_sidebars = {"**": ["all-pages.html"]}
html_theme_options = {
    "logo": {"text": "The price of anarchy"},
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "secondary_sidebar_items": ["page-toc"],
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}

copybutton_exclude = ".linenos, .gp, .go"

autoapi_dirs = [str(PROJECT / "scripts" / "anarchy")]
autoapi_root = site_pages.REFERENCE
autoapi_options = ["members", "show-module-summary"]
autoapi_add_toctree_entry = False
autoapi_member_order = "bysource"
autoapi_python_class_content = "class"


def _read(_app: Any, page: str, source: list[str]) -> None:
    if (PROJECT / "docs" / f"{page}.md").is_file():
        source[0] = site_pages.for_site(page, source[0], site_pages.repository(PROJECT))


def _docstring(*given: Any) -> None:
    lines = given[-1]
    lines[:] = site_pages.docstring(lines)


def _skipped(_app: Any, kind: str, _name: str, _member: Any, skip: bool, _options: Any) -> bool:
    return skip and kind not in {"package", "module"}  # a room whose __init__.py is empty is a room


def setup(app: Any) -> None:
    """Rewrite pages and docstrings as they are read."""
    app.connect("autoapi-skip-member", _skipped)
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", _docstring)
