"""Words, numbers and text from sites, as they stand in the page: escaped, isolated and cut."""

from __future__ import annotations

from datetime import UTC, tzinfo
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from attrs import define, field
from markupsafe import Markup, escape

from ppapi_async.cli.report.data import Amounts
from ppapi_async.cli.report.hostile import tame
from ppapi_async.cli.report.numbers import Numbers
from ppapi_async.cli.report.words import Language, counted, text

__all__ = ["UNNAMED", "Writer"]

UNNAMED = "¤"
_LONGEST_NAME, _LONGEST_UNIT, _LONGEST_TITLE = 80, 40, 300
_MOST_CURRENCIES = 3
_LINE = Markup("<br>")


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


@define
class Writer:
    """Writes for one language and the zone of a report."""

    language: Language
    zone: str
    numbers: Numbers = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.numbers = Numbers(self.language, _zone(self.zone))

    def say(self, key: str, **values: object) -> Markup:
        """Return a text with its values, which are escaped unless they are markup."""
        return Markup(text(self.language, key)).format(**values)  # noqa: S704 - a text of ours

    def counted(self, key: str, number: int) -> Markup:
        """Return a number with what it counts: 3 orders."""
        form = counted(self.language, key, number)
        return Markup(form).format(n=self.numbers.count(number))  # noqa: S704 - a text of ours

    def site(self, text: str, longest: int = _LONGEST_NAME) -> Markup:
        """Return text of a site or visitor: it cannot turn or leave its place."""
        shown = tame(text, longest)
        if not shown:
            return Markup('<span class="none">{}</span>').format(self.say("none"))
        if shown.endswith("…"):
            return Markup('<bdi title="{}">{}</bdi>').format(tame(text, _LONGEST_TITLE), shown)
        return Markup("<bdi>{}</bdi>").format(shown)

    def plain(self, text: str) -> str:
        """Return text of a site or visitor where there can be no markup: in an attribute."""
        return tame(text, _LONGEST_UNIT)

    def unit(self, currency: str, account: str | None = None) -> Markup:
        """Return a currency; the unknown one of an account beside its name is only a sign."""
        if account is not None and currency == f"{UNNAMED} {account}":
            currency = UNNAMED
        return Markup('<bdi class="u">{}</bdi>').format(tame(currency, _LONGEST_UNIT))

    def amount(self, amount: Decimal, currency: str = "") -> Markup:
        """Return an amount without its currency, all digits of it as a tooltip."""
        shown = self.numbers.amount(amount, currency)
        if self.numbers.is_rounded(amount, currency):
            exact = self.numbers.exact(amount)
            return Markup('<span title="{}">{}</span>').format(exact, shown)
        return escape(shown)

    def money(self, amount: Decimal, currency: str, account: str | None = None) -> Markup:
        """Return an amount with its currency."""
        return Markup("{}\u00a0{}").format(
            self.amount(amount, currency), self.unit(currency, account)
        )

    def amounts(
        self, amounts: Amounts, account: str | None = None, *, between: Markup = _LINE
    ) -> Markup:
        """Return amounts of several currencies, a line for each; never a sum of them."""
        there = sorted(
            ((currency, amount) for currency, amount in amounts.items() if amount),
            key=lambda one: (one[0].startswith(UNNAMED), one[0]),
        )
        if not there:
            return Markup('<span class="z">0</span>')
        lines = [
            self.money(amount, currency, account) for currency, amount in there[:_MOST_CURRENCIES]
        ]
        if more := len(there) - len(lines):
            lines.append(
                Markup('<span class="rest">{}</span>').format(self.counted("more_currencies", more))
            )
        return between.join(lines)

    def number(self, number: int) -> Markup:
        """Return a count; a zero is pale."""
        if not number:
            return Markup('<span class="z">0</span>')
        return escape(self.numbers.count(number))

    def sum(self, amount: Decimal, currency: str) -> Markup:
        """Return an amount without its currency; a zero is pale."""
        if not amount:
            return self.number(0)
        return self.amount(amount, currency)
