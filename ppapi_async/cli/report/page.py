"""The report as one page: HTML that needs no network, no script and no other file."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ppapi_async.cli.report.data import ReportData
from ppapi_async.cli.report.limits import Limits
from ppapi_async.cli.report.rewards import rewards_of
from ppapi_async.cli.report.sections import (
    best_sub_ids,
    coverage_lines,
    direction_bars,
    finding_groups,
    funnel_bars,
    funnel_table,
    hour_maps,
    key_figures,
    unnamed_left,
)
from ppapi_async.cli.report.words import Language
from ppapi_async.cli.report.writing import UNNAMED, Writer

__all__ = ["ReportPage"]

_TEMPLATES = "templates"
_MOST_NAMES = 10
_LARGEST = 390_000
"""Bytes of a page; one that would be larger gets shorter lists."""


class ReportPage:
    """Draws reports.

    Args:
        language: of its texts and numbers.
        is_live: whether a server shows it, which tells the page when there is something new.
    """

    def __init__(self, language: Language = "en", *, is_live: bool = False) -> None:
        self._language = language
        self._is_live = is_live
        self._style = Markup(_squeezed(_text_of("report.css")))  # noqa: S704
        self._script = Markup(_squeezed(_text_of("live.js"))) if is_live else None  # noqa: S704
        templates = _templates()
        self._template = templates.get_template("report.html")
        self._entrance = templates.get_template("entrance.html")

    @property
    def policy(self) -> str:
        """The content security policy: nothing but the style, and the script, that are here."""
        parts = ["default-src 'none'", f"style-src {_hash(self._style)}"]
        if self._script is not None:
            parts += [f"script-src {_hash(self._script)}", "connect-src 'self'"]
        return "; ".join([*parts, "base-uri 'none'", "form-action 'none'"])

    def draw(self, data: ReportData, *, revision: str = "") -> str:
        """Return the page of a report, its lists as long as they may be.

        Args:
            data: what it tells.
            revision: of the mirror, for a live page.
        """
        limits = Limits()
        page = self._draw(data, limits, revision)
        while len(page.encode()) > _LARGEST and limits != (fewer := limits.fewer()):
            limits = fewer
            page = self._draw(data, limits, revision)
        return page

    def draw_entrance(self, *, is_refused: bool = False) -> str:
        """Return the page that asks for the token.

        Args:
            is_refused: whether one was given that is not right.
        """
        return _squeezed(
            self._entrance.render(
                t=Writer(self._language, "UTC").say,
                language=self._language,
                style=self._style,
                is_refused=is_refused,
            )
        )

    def _draw(self, data: ReportData, limits: Limits, revision: str) -> str:
        writer = Writer(self._language, data.zone)
        rewards = rewards_of(data, writer, limits)
        lines, complete = coverage_lines(data, writer)
        figures = key_figures(data, rewards, writer)
        return _squeezed(
            self._template.render(
                data=data,
                **_lists(data, limits),
                writer=writer,
                t=writer.say,
                language=self._language,
                style=self._style,
                script=self._script,
                policy=self.policy,
                revision=revision,
                rewards=rewards,
                figures=figures,
                unnamed_count=unnamed_left(data, figures),
                findings=finding_groups(data, writer, limits),
                unfollowed=_listed(data.unfollowed, writer),
                funnel_bars=funnel_bars(data, writer),
                funnels=[funnel_table(one, rewards, writer, limits) for one in data.funnels],
                best=best_sub_ids(data, writer, limits),
                hours=hour_maps(data, writer),
                coverage=lines,
                most_coverage=limits.coverage,
                complete=complete,
            )
        )


def _lists(data: ReportData, limits: Limits) -> dict[str, object]:
    """Return the lists of a report, cut, and how much was left out of each."""
    named = [one for one in data.owed if not one.currency.startswith(UNNAMED)]
    owed = data.owed if len(data.owed) <= limits.owed else named[: limits.owed]
    balances = sorted(data.accounts, key=lambda one: (not one.is_due, not one.waiting, one.name))
    return {
        "owed": owed,
        "more_owed": len(data.owed) - len(owed),
        "balances": balances[: limits.balances],
        "more_balances": max(0, len(balances) - limits.balances),
        "payouts": data.payouts[: limits.payouts],
        "more_payouts": data.more_payouts + max(0, len(data.payouts) - limits.payouts),
        "directions": direction_bars(data.directions[: limits.directions]),
        "more_directions": data.more_directions + max(0, len(data.directions) - limits.directions),
    }


def _listed(names: Sequence[str], writer: Writer) -> Markup:
    """Return names, the first few of them, and how many more there are."""
    parts = [writer.site(name, 40) for name in names[:_MOST_NAMES]]
    if len(names) > _MOST_NAMES:
        parts.append(writer.counted("more_accounts", len(names) - _MOST_NAMES))
    return Markup(", ").join(parts)


@functools.cache
def _templates() -> Environment:
    """Return the templates, each compiled once."""
    return Environment(
        loader=PackageLoader("ppapi_async.cli.report", _TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _text_of(name: str) -> str:
    return files("ppapi_async.cli.report").joinpath(_TEMPLATES, name).read_text("utf-8")


def _squeezed(text: str) -> str:
    """Return text without indents and empty lines; what was squeezed already stays as it is."""
    return "\n".join(line for one in text.split("\n") if (line := one.strip()))


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"
