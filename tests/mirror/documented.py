"""What docs/guides/mirror.md says of the tables, from the tables themselves.

`python -m tests.mirror.documented` writes it into the page after a change; a test compares.
"""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from ppapi_async.mirror.schema import metadata

PAGE = Path(__file__).parents[2] / "docs" / "guides" / "mirror.md"
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_PART = re.compile(r"(<!-- tables: [^\n]* -->\n).*?(<!-- end -->)", re.DOTALL)


def tables() -> str:
    """Return a section for each table: what it holds, its columns, their types and meanings."""
    return "\n".join(map(_section, metadata.tables.values()))


def _section(table: Table) -> str:
    keys = ", ".join(f"`{column.name}`" for column in table.primary_key)
    lines = [
        f"**`{table.name}`** (key: {keys}): {table.comment}",
        "",
        "| column | type | |",
        "|---|---|---|",
    ]
    for column in table.columns:
        kind = str(column.type.compile(_DIALECT)).removesuffix("()").lower()
        kind = kind.replace("timestamp with time zone", "timestamptz")
        null = ", or null" if column.nullable else ""
        lines.append(f"| `{column.name}` | {kind}{null} | {column.comment} |")
    return "\n".join(lines) + "\n"


def documented(page: str) -> str:
    """Return the page with what is true of the tables."""
    return _PART.sub(lambda found: f"{found[1]}\n{tables()}\n{found[2]}", page)


if __name__ == "__main__":
    PAGE.write_text(documented(PAGE.read_text("utf-8")), "utf-8")
