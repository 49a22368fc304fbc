"""How Sphinx builds the documentation; CONTRIBUTING.md has the commands."""

from __future__ import annotations

import ppapi_async

project = "ppapi_async"
author = "the authors of ppapi_async"
project_copyright = author
release = version = ppapi_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
default_role = "code"  # docstrings have `names` in single backticks
nitpicky = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # as GitHub has them, so that a link is right in both places

html_theme = "furo"
html_title = f"ppapi_async {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
