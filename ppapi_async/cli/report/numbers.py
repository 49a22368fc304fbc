"""Numbers, money, dates and durations as people write them, in English and in Russian."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal

from attrs import frozen

from ppapi_async.cli.report.words import MONTH_NAMES, MONTHS, Language, counted

__all__ = ["Numbers"]

_NO_BREAK = "\u00a0"
_NARROW = "\u202f"
_MINUS = "\u2212"
_DASH = "\u2013"
_SUPERSCRIPTS = str.maketrans("-0123456789", "\u207b⁰¹²³⁴⁵⁶⁷⁸⁹")
_FINE = {
    "BTC": 8,
    "BCH": 6,
    "BNB": 6,
    "DASH": 6,
    "ETC": 4,
    "ETH": 6,
    "LTC": 6,
    "SOL": 4,
    "XMR": 6,
    "ZEC": 6,
}
"""Places of currencies whose unit is worth much; two for all others."""
_LEAST, _MOST = -12, 15
"""Between these powers of ten an amount is written out."""
_LONGEST_EXACT = 40
_SHORT = {
    "en": ((12, "T"), (9, "B"), (6, "M"), (3, "K")),
    "ru": ((12, "трлн"), (9, "млрд"), (6, "млн"), (3, "тыс.")),
}
_UNITS = (
    ("years", 365 * 86_400, 2 * 365 * 86_400),
    ("months", 30 * 86_400, 90 * 86_400),
    ("days", 86_400, 2 * 86_400),
    ("hours", 3_600, 2 * 3_600),
    ("minutes", 60, 60),
)
"""A unit of time, its seconds, and from how many on it is used."""


def _rounded(amount: Decimal, currency: str) -> Decimal:
    places = _FINE.get(currency.upper(), 2)
    if amount.adjusted() < 1 - places:
        places = min(-_LEAST, 1 - amount.adjusted())
    return amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


@frozen
class Numbers:
    """Writes numbers for one language and one time zone."""

    language: Language
    zone: tzinfo = UTC

    def count(self, number: int) -> str:
        """Return a whole number with its thousands apart."""
        return self._signed(f"{number:,}")

    def amount(self, amount: Decimal, currency: str = "") -> str:
        """Return an amount of money, rounded to as many places as its currency usually has.

        Small amounts keep two significant digits; immense and minute ones get a power of ten.
        """
        if not amount:
            return "0"
        if not _LEAST <= amount.adjusted() < _MOST:
            return self._power(amount)
        return self._signed(f"{_rounded(amount, currency):,f}")

    def is_rounded(self, amount: Decimal, currency: str = "") -> bool:
        """Tell whether `amount` leaves digits out."""
        if not amount:
            return False
        return not _LEAST <= amount.adjusted() < _MOST or _rounded(amount, currency) != amount

    def exact(self, amount: Decimal) -> str:
        """Return all digits of an amount, as it stands in the database."""
        size = amount.adjusted()
        if abs(size) > _LONGEST_EXACT:
            return f"{amount:.12e}"
        return f"{amount:f}"[: 3 * _LONGEST_EXACT]

    def digits(self, amount: Decimal) -> str:
        """Return all digits of an amount with the language's marks."""
        return self._signed(self.exact(amount))

    def short(self, amount: Decimal) -> str:
        """Return a number for an axis: 1.5K, 20M."""
        if not amount:
            return "0"
        size = amount.adjusted()
        if size >= _MOST or size < -8:
            return self._power(amount)
        for power, sign in _SHORT[self.language]:
            if size >= power:
                gap = "" if self.language == "en" else _NO_BREAK
                return self._trimmed(amount.scaleb(-power), 2) + gap + sign
        return self._trimmed(amount, max(2, 1 - size))

    def share(self, part: Decimal | float, whole: Decimal | float) -> str:
        """Return a share in per cent; a dash where there is no whole."""
        if not whole:
            return _DASH
        share = Decimal(part) / Decimal(whole) * 100
        sign = "%" if self.language == "en" else f"{_NO_BREAK}%"
        if 0 < share < Decimal("0.1"):
            return f"<{self._signed('0.1')}{sign}"
        if Decimal("99.9") < share < 100:
            return f">{self._signed('99.9')}{sign}"
        if abs(share) >= 1000 or share in {0, 100}:
            return self.count(int(share.to_integral_value(ROUND_HALF_UP))) + sign
        return self._signed(f"{share.quantize(Decimal('0.1'), ROUND_HALF_UP):f}") + sign

    def day(self, day: date, *, year: bool = True) -> str:
        """Return a date: 28 Nov 2026."""
        month = MONTHS[self.language][day.month - 1]
        text = f"{day.day}{_NO_BREAK}{month}"
        return f"{text}{_NO_BREAK}{day.year}" if year else text

    def month(self, day: date) -> str:
        """Return a month: Nov 2026."""
        return f"{MONTH_NAMES[self.language][day.month - 1]}{_NO_BREAK}{day.year}"

    def days(self, first: date, last: date) -> str:
        """Return a range of days, both included: 30 Aug to 28 Nov 2026."""
        if first == last:
            return self.day(first)
        return f"{self.day(first, year=first.year != last.year)} {_DASH} {self.day(last)}"

    def moment(self, moment: datetime) -> str:
        """Return an instant in the zone: 28 Nov 2026, 14:30."""
        local = self.local(moment)
        return f"{self.day(local.date())}, {local:%H:%M}"

    def local(self, moment: datetime) -> datetime:
        """Return an instant in the zone; as is, where that is beyond the calendar's ends."""
        try:
            return moment.astimezone(self.zone)
        except OverflowError:
            return moment

    def last_day(self, end: datetime) -> date:
        """Return the last day before an end."""
        return self.local(end - timedelta(microseconds=1)).date()

    def lasting(self, time: timedelta) -> str:
        """Return a duration in its largest fitting unit: 3 days, 5 hours."""
        seconds = abs(time.total_seconds())
        for key, length, least in _UNITS:
            if seconds >= least:
                return self._counted(key, int(seconds // length))
        return self._counted("seconds", int(seconds))

    def _counted(self, key: str, number: int) -> str:
        text = counted(self.language, key, number).format(n=self.count(number))
        return text.replace(" ", _NO_BREAK)

    def _signed(self, text: str) -> str:
        """Return a number, as Python writes it, with the language's marks."""
        if self.language == "ru":
            text = text.replace(",", _NARROW).replace(".", ",")
        return text.replace("-", _MINUS)

    def _trimmed(self, amount: Decimal, places: int) -> str:
        text = f"{amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"
        return self._signed(text.rstrip("0").rstrip(".") if "." in text else text)

    def _power(self, amount: Decimal) -> str:
        digits, _, power = f"{amount:.2e}".partition("e")
        power = str(int(power)).translate(_SUPERSCRIPTS)
        return f"{self._signed(digits)}{_NO_BREAK}·{_NO_BREAK}10{power}"
