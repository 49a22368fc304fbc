"""How Sphinx builds the documentation; CONTRIBUTING.md has the commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import get_type_hints

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring
from sphinx.util.typing import stringify_annotation

import ppapi_async

project = "ppapi_async"
author = "the authors of ppapi_async"
project_copyright = author
release = version = ppapi_async.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
nitpicky = True
nitpick_ignore_regex = [
    # Of other projects: to link there, each build would have to fetch their lists of names.
    ("py:.*", r"(collections|contextlib|datetime|decimal|os|types|zoneinfo)\..*"),
    ("py:.*", r"(aiohttp|opentelemetry|procrastinate|prometheus_client|pyarrow|pytest)\..*"),
    ("py:.*", r"sqlalchemy\..*"),
    ("py:class", r"(.*\.)?\w*T(_co)?"),  # variables of types
    ("py:class", r".*\._\w+"),  # the type of a private field
    (
        "py:class",
        "Json|ResourceName|datetime",
    ),  # in aliases of types
]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # as GitHub has them, so that a link is right in both places

autodoc_default_options = {
    "members": True,
    "inherited-members": "BaseException, Exception, Enum, StrEnum, str, dict, object",
}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"ppapi_async {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

PUBLIC = {
    name: module
    for module in ("ppapi_async.mirror", "ppapi_async.sandbox", "ppapi_async")
    for name in import_module(module).__all__
}
"""Every public name, and where a program imports it from."""
_QUOTED = re.compile(r"(?<![`:])`([^`]+)`(?!`)(?=(\w?))")
_CODE = re.compile(r"^( *\S.*[^:\s]):(\n\n +\S)", re.MULTILINE)
_SECTIONS = Config(napoleon_use_ivar=False)


def _link(quoted: re.Match[str]) -> str:
    """Make a reference of a public name, and code of the rest."""
    text = quoted[1]
    first, _, rest = text.removesuffix("()").partition(".")
    found = getattr(import_module(PUBLIC[first]), first) if first in PUBLIC else None
    if found is None or (rest and not hasattr(found, rest)):
        made = f"``{text}``"
    else:
        made = f":py:obj:`{text} <{PUBLIC[first]}.{first}{'.' * bool(rest)}{rest}>`"
    return made + "\\ " * bool(quoted[2])  # `Change`s


def _typed(lines: list[str], kind: object) -> Iterator[str]:
    """Yield the lines of a class' docstring, with the type of each field that has one."""
    types = get_type_hints(kind) if isinstance(kind, type) else {}
    for line in lines:
        yield line
        head, _, field = line.partition(".. attribute:: ")
        if field in types:
            yield f"{head}   :type: {stringify_annotation(types[field], 'smart')}"


def _process(
    _app: Sphinx, _what: str, _name: str, found: object, _options: object, lines: list[str]
) -> None:
    """Make what Sphinx reads of a docstring: sections, code, and what it has in backticks.

    That of a field is read as that of a method, or what is before a colon would be its type.
    """
    text = _QUOTED.sub(_link, _CODE.sub(r"\1::\2", "\n".join(lines)))
    lines[:] = _typed(GoogleDocstring(text, _SECTIONS, what="method").lines(), found)


def setup(app: Sphinx) -> None:
    """Read docstrings as they are written: what is in backticks is a name, or code."""
    app.connect("autodoc-process-docstring", _process)
