"""Numbers of the report: as people write them, in English and in Russian."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from ppapi_async.cli.report.hostile import tame
from ppapi_async.cli.report.numbers import Numbers
from ppapi_async.cli.report.words import (
    COUNTED,
    LANGUAGES,
    MONTH_NAMES,
    MONTHS,
    TEXTS,
    WEEKDAYS,
    Language,
    counted,
    text,
)

EN, RU = Numbers("en"), Numbers("ru")


@pytest.mark.parametrize(
    ("number", "english", "russian"),
    [
        (0, "0", "0"),
        (999, "999", "999"),
        (1_234_567, "1,234,567", "1\u202f234\u202f567"),
        (-5, "\u22125", "\u22125"),
    ],
)
def test_counts(number: int, english: str, russian: str) -> None:
    """Thousands stand apart, and a minus is one."""
    assert (EN.count(number), RU.count(number)) == (english, russian)


@pytest.mark.parametrize(
    ("amount", "currency", "written"),
    [
        ("0", "USD", "0"),
        ("-0", "USD", "0"),
        ("1234.5", "USD", "1,234.50"),
        ("0.5", "USD", "0.50"),
        ("1234.565", "", "1,234.57"),
        ("-1234.5", "RUB", "\u22121,234.50"),
        ("0.05", "USD", "0.050"),
        ("0.004", "USD", "0.0040"),
        ("0.00000921", "USD", "0.0000092"),
        ("1.5", "BTC", "1.50000000"),
        ("1.5", "btc", "1.50000000"),
        ("0.00000001", "BTC", "0.000000010"),
        ("1E-13", "USD", "1.00\u00a0·\u00a010\u207b¹³"),
        ("999999999999999", "USD", "999,999,999,999,999.00"),
        ("1234567890123456", "USD", "1.23\u00a0·\u00a010¹⁵"),
        ("1E+131072", "USD", "1.00\u00a0·\u00a010¹³¹⁰⁷²"),
    ],
)
def test_amounts(amount: str, currency: str, written: str) -> None:
    """Two places, more where the unit is worth much or the amount is small; never a long row."""
    assert EN.amount(Decimal(amount), currency) == written


@pytest.mark.parametrize(
    ("amount", "is_rounded"),
    [("0", False), ("1.25", False), ("1.250", False), ("1.255", True), ("1E+20", True)],
)
def test_what_is_rounded_is_known(amount: str, is_rounded: bool) -> None:
    """Where digits are left out, all of them are shown beside."""
    assert EN.is_rounded(Decimal(amount)) is is_rounded


def test_russian_amounts() -> None:
    """A comma before the fraction, narrow blanks between thousands."""
    assert RU.amount(Decimal("1234.5"), "RUB") == "1\u202f234,50"


def test_exact_amounts_are_bounded() -> None:
    """All digits, unless there are hundreds of them."""
    assert EN.exact(Decimal("1234.567800000001")) == "1234.567800000001"
    assert EN.exact(Decimal("1E+131072")) == "1.000000000000e+131072"
    assert len(EN.exact(Decimal("1." + "3" * 5_000))) < 200


@pytest.mark.parametrize(
    ("amount", "english", "russian"),
    [
        ("0", "0", "0"),
        ("20", "20", "20"),
        ("2.5", "2.5", "2,5"),
        ("0.025", "0.025", "0,025"),
        ("0.00025", "0.00025", "0,00025"),
        ("1500", "1.5K", "1,5\u00a0тыс."),
        ("-20000000", "\u221220M", "\u221220\u00a0млн"),
        ("1e9", "1B", "1\u00a0млрд"),
        ("1e20", "1.00\u00a0·\u00a010²⁰", "1,00\u00a0·\u00a010²⁰"),
    ],
)
def test_short_numbers(amount: str, english: str, russian: str) -> None:
    """What stands at an axis takes little room."""
    assert (EN.short(Decimal(amount)), RU.short(Decimal(amount))) == (english, russian)


@pytest.mark.parametrize(
    ("part", "whole", "english", "russian"),
    [
        (1, 0, "\u2013", "\u2013"),
        (0, 5, "0%", "0\u00a0%"),
        (5, 5, "100%", "100\u00a0%"),
        (1, 3, "33.3%", "33,3\u00a0%"),
        (3, 4, "75.0%", "75,0\u00a0%"),
        (1, 100_000, "<0.1%", "<0,1\u00a0%"),
        (99_999, 100_000, ">99.9%", ">99,9\u00a0%"),
        (50, 4, "1,250%", "1\u202f250\u00a0%"),
    ],
)
def test_shares(part: int, whole: int, english: str, russian: str) -> None:
    """Nearly nothing is not nothing, and nearly all is not all."""
    assert EN.share(Decimal(part), Decimal(whole)) == english
    assert RU.share(Decimal(part), Decimal(whole)) == russian


def test_dates() -> None:
    """A range says its year once, and an instant stands in the zone."""
    moscow = Numbers("en", ZoneInfo("Europe/Moscow"))
    first, last = date(2026, 8, 30), date(2026, 11, 28)
    assert moscow.days(first, last) == "30\u00a0Aug \u2013 28\u00a0Nov\u00a02026"
    assert RU.days(first, last) == "30\u00a0авг. \u2013 28\u00a0нояб.\u00a02026"
    assert EN.days(last, last) == "28\u00a0Nov\u00a02026"
    assert "2025" in EN.days(date(2025, 12, 31), last)
    night = datetime(2026, 11, 27, 22, 30, tzinfo=UTC)
    assert moscow.moment(night) == "28\u00a0Nov\u00a02026, 01:30"
    assert moscow.last_day(datetime(2026, 11, 27, 21, tzinfo=UTC)) == date(2026, 11, 27)
    assert RU.month(date(2026, 3, 1)) == "март\u00a02026"


def test_the_ends_of_the_calendar_are_no_error() -> None:
    """Sites have rows of the year 9999; where the zone leads past it, UTC stays."""
    nines = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert Numbers("en", ZoneInfo("Europe/Moscow")).moment(nines).endswith("9999, 23:59")


@pytest.mark.parametrize(
    ("time", "english", "russian"),
    [
        (timedelta(seconds=1), "1 second", "1 секунда"),
        (timedelta(minutes=2), "2 minutes", "2 минуты"),
        (timedelta(hours=5), "5 hours", "5 часов"),
        (timedelta(hours=47), "47 hours", "47 часов"),
        (timedelta(days=3), "3 days", "3 дня"),
        (timedelta(days=21), "21 days", "21 день"),
        (timedelta(days=100), "3 months", "3 месяца"),
        (timedelta(days=5 * 365), "5 years", "5 лет"),
    ],
)
def test_durations(time: timedelta, english: str, russian: str) -> None:
    """The largest unit that fits, in the right form."""
    assert EN.lasting(time).replace("\u00a0", " ") == english
    assert RU.lasting(time).replace("\u00a0", " ") == russian


@pytest.mark.parametrize(
    ("number", "form"),
    [
        (0, "заявок"),
        (1, "заявка"),
        (2, "заявки"),
        (4, "заявки"),
        (5, "заявок"),
        (11, "заявок"),
        (12, "заявок"),
        (21, "заявка"),
        (22, "заявки"),
        (111, "заявок"),
        (1_001, "заявка"),
    ],
)
def test_russian_plurals(number: int, form: str) -> None:
    """One, few, many."""
    assert counted("ru", "orders", number).endswith(form)


def _placeholders(text: str) -> list[str]:
    return sorted(part.split("}")[0] for part in text.split("{")[1:])


def test_both_languages_have_all_texts() -> None:
    """No text is empty or left in English, and the same values stand in each pair."""
    for key, pair in TEXTS.items():
        assert all(pair), key
        assert _placeholders(pair[0]) == _placeholders(pair[1]), key
        assert pair[0] != pair[1] or not any(map(str.isalpha, re.sub("{.*?}", "", pair[0]))), key
    for key, (english, russian) in COUNTED.items():
        for form in (*english, *russian):
            assert _placeholders(form) == ["n"], key
    for names in (MONTHS, MONTH_NAMES):
        assert {language: len(names[language]) for language in LANGUAGES} == {"en": 12, "ru": 12}
    assert {len(WEEKDAYS[language]) for language in LANGUAGES} == {7}


@pytest.mark.parametrize(
    ("language", "title"), [("en", "Partner report"), ("ru", "Отчёт партнёра")]
)
def test_a_text(language: Language, title: str) -> None:
    """A text comes in the language that was asked for."""
    assert text(language, "title") == title


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("plain", "plain"),
        ("  a \t\n b  ", "a b"),
        ("a\u202eb\u2066c", "a\ufffdb\ufffdc"),
        ("a\x00\x1b\x07b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ("Z" + "\u0335" * 50 + "y", "Z\u0335\u0335y"),
        ("1234567890", "1234567890"),
        ("12345678901", "123456789…"),
        ("x" * 10_000, "xxxxxxxxx…"),
        ("a" + "\u0335" * 10_000, "a\u0335\u0335…"),
        ("<b>&", "<b>&"),
        ("", ""),
    ],
)
def test_hostile_text_stays_in_its_place(hostile: str, shown: str) -> None:
    """No controls, no turning, no towers of accents, and not too long."""
    assert tame(hostile, 10) == shown
