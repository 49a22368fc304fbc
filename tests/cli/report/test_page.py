"""The page of a report: what it says, and that nothing in it is anybody else's markup."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache, partial
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from ppapi_async.cli.report import page
from ppapi_async.cli.report.data import (
    AccountSummary,
    DaySum,
    Exhibit,
    Finding,
    FindingKind,
    Funnel,
    FunnelStep,
    Grain,
    Range,
    ReportData,
    Severity,
)
from ppapi_async.cli.report.data import Coverage as CoverageData
from ppapi_async.cli.report.limits import Limits
from ppapi_async.cli.report.page import ReportPage
from ppapi_async.cli.report.rewards import rewards_of
from ppapi_async.cli.report.timeline import Timeline, start_of
from ppapi_async.cli.report.words import COUNTED, LANGUAGES, TEXTS, Language
from ppapi_async.cli.report.writing import Writer
from tests.cli.report.made_up import END, empty, made_up

_VOID = {"meta", "link", "br", "path", "rect", "line", "circle"}


class Seen(HTMLParser):
    """What is in a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(tag, name) for name, _ in attrs}
        self.ids += [value for name, value in attrs if name == "id" and value is not None]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, blanks as one."""
        return re.sub("[ \n]+", " ", "".join(self.texts))


def summary(
    name: str = "one",
    currency: str = "USD",
    *,
    accrued: Decimal = Decimal(),
    orders: int = 0,
) -> AccountSummary:
    """Return an account."""
    return AccountSummary(
        name=name,
        host=f"{name}.example",
        currency=currency,
        timezone="UTC",
        first_seen=END,
        last_synced=None,
        accrued=accrued,
        orders=orders,
    )


week = partial(ReportData, made_at=END, start=END - timedelta(days=7), end=END, zone="UTC")
finding = partial(Finding, severity=Severity.HIGH, account="one")


@cache
def page_of(language: Language) -> ReportPage:
    """Return what draws pages in a language."""
    return ReportPage(language)


def seen(data: ReportData, language: Language = "en") -> Seen:
    """Draw a report, and look at it."""
    return Seen(page_of(language).draw(data))


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_empty_mirror_says_what_to_do(language: Language) -> None:
    """There is no chart and no table, but the command that fills the mirror."""
    page = seen(empty(), language)
    assert "ppapi sync" in page.text
    assert not page.tags & {"table", "figure", "nav", "script"}


def test_the_policy_forbids_all_but_the_style() -> None:
    """The hash is that of the only style, and there is no script and no attribute for style."""
    page = page_of("en").draw(made_up(3))
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    found = Seen(page)
    names = {name for _, name in found.attributes}
    assert not found.tags & {"script", "img", "iframe", "object", "form", "base"}
    assert not {name for name in names if name.startswith("on") or name in {"style", "src"}}
    assert "url(" not in style
    assert "@import" not in style


def test_a_live_page_has_one_script_by_its_hash() -> None:
    """It may ask its own server, and nobody else."""
    page = ReportPage(is_live=True)
    drawn = page.draw(made_up(1))
    (script,) = re.findall(r"<script>(.*?)</script>", drawn, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'; connect-src 'self'" in page.policy


@pytest.mark.parametrize(("language", "accounts"), [("en", 300), ("ru", 100)])
def test_the_page_stays_small(language: Language, accounts: int) -> None:
    """Under 400 KB, whatever there is; what is left out is counted."""
    drawn = page_of(language).draw(made_up(accounts))
    assert len(drawn.encode()) < 400_000
    assert re.search(r"and 1,\d\d\d more" if language == "en" else r"и ещё 1\u202f\d\d\d", drawn)


@pytest.mark.untraced
def test_a_page_of_long_texts_stays_small() -> None:
    """Lists become shorter where each of their rows is long."""
    drawn = page_of("ru").draw(made_up(100, text=lambda text: text + "<\u00e9\u4e00&'\">" * 40))
    assert len(drawn.encode()) < 400_000


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("accounts", [1, 4, 40])
def test_each_id_is_there_once(accounts: int, language: Language) -> None:
    """What refers to an id, such as the contents, finds one thing; no placeholder is left."""
    page = seen(made_up(accounts), language)
    assert len(page.ids) == len(set(page.ids))
    assert not re.findall(r"\{\w*\}", page.text)


def _attack(text: str) -> Callable[[str], str]:
    return lambda own: f"{text}{own}"


@cache
def plain() -> Seen:
    """Return what is in a page without anything hostile."""
    return Seen(page_of("en").draw(made_up(2, days=3)))


@pytest.mark.untraced
@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "' onmouseover='alert(1)",
        "</style><style>*{display:none}</style>",
        "<!--",
        "{{ 7*7 }}{% raw %}",
        "{account}",
        "&lt;b&gt;",
        "\u202e\u2066evil\u2069",
        "]]><svg onload=alert(1)>",
        "x" * 10_000,
        "Z" + "\u0335" * 10_000,
    ],
    ids=lambda text: re.sub(r"\W+", "-", text)[:20],
)
def test_hostile_texts_are_only_text(text: str) -> None:
    """No element and no attribute comes from what a site or a visitor has written."""
    drawn = page_of("en").draw(made_up(2, days=3, text=_attack(text)))
    page = Seen(drawn)
    assert page.tags == plain().tags
    assert page.attributes - plain().attributes <= {("bdi", "title")}
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08]", drawn)
    assert "\u0335" * 3 not in drawn
    assert "x" * 400 not in drawn


@given(st.text(max_size=60))
def test_any_text_is_only_text(text: str) -> None:
    """The same for whatever text there is."""
    data = week(
        accounts=(
            summary(text, f"¤ {text}", accrued=Decimal(5)),
            summary("two", text, accrued=Decimal(5)),
        ),
        days=(DaySum(day=END.date(), account=text, accrued=Decimal(5)),),
        funnels=(Funnel(by="sub_id", steps=(FunnelStep(label=text, accrued={text: Decimal(1)}),)),),
        findings=(
            Finding(
                kind=FindingKind.REWARDS_TAKEN_BACK,
                severity=Severity.HIGH,
                account=text,
                amount=Decimal(3),
                currency=text,
                evidence=(Exhibit(resource=text, before=text, after=text),),
            ),
        ),
    )
    page = Seen(page_of("en").draw(data))
    assert page.tags <= plain().tags | {"ul", "li"}
    assert page.attributes - plain().attributes <= {("bdi", "title")}


def test_a_name_is_isolated_and_cut() -> None:
    """A long sub-id ends in an ellipsis, and more of it is told where one points at it."""
    label = "a" * 200
    funnel = Funnel(by="sub_id", steps=(FunnelStep(label=label, clicks=3),))
    drawn = page_of("en").draw(week(accounts=(summary(),), funnels=(funnel,)))
    assert f'<bdi title="{label}">{"a" * 79}…</bdi>' in drawn


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (
            finding(
                kind=FindingKind.REWARDS_TAKEN_BACK,
                count=2,
                amount=Decimal("12.5"),
                currency="USD",
                since=datetime(2026, 11, 20, 8, tzinfo=UTC),
            ),
            "2 rewards12.50 USDsince 20 Nov 2026, 08:00",
        ),
        (
            finding(kind=FindingKind.SITE_BEHIND, lasting=timedelta(hours=30)),
            "for 30 hours",
        ),
        (
            finding(
                kind=FindingKind.PAYOUT_WAITING,
                count=3,
                lasting=timedelta(days=9),
                usual=timedelta(days=2),
            ),
            "3 payoutsthe oldest for 9 daysusually 2 days",
        ),
        (
            finding(kind=FindingKind.ACCRUALS_LAG, count=1, lasting=timedelta(days=9)),
            "1 orderfor 9 days",
        ),
        (
            finding(kind=FindingKind.CLICKS_WITHOUT_ORDERS, count=412, expected=Decimal(12)),
            "412 clicksso many usually bring 12 orders",
        ),
        (
            finding(
                kind=FindingKind.SITE_QUIET,
                expected=Decimal(300),
                evidence=(Exhibit(resource="links", at=END),),
            ),
            "usually 300 clicks and orders in such a time",
        ),
        (
            finding(
                kind=FindingKind.COVERAGE_INCOMPLETE,
                count=2,
                evidence=(Exhibit(resource="links", until=END),),
            ),
            "2 times WhatWhen Clicksfrom the beginning to 28 Nov 2026, 11:30",
        ),
        (
            finding(
                kind=FindingKind.BALANCE_UNEXPLAINED, amount=Decimal(100), expected=Decimal(120)
            ),
            "balance 100.00 USDshould be 120.00 USDdifference \u221220.00 USD",
        ),
    ],
    ids=lambda value: value.kind.value if isinstance(value, Finding) else "words",
)
def test_what_a_finding_says(found: Finding, words: str) -> None:
    """Its numbers stand beside the account, each with what it means."""
    page = seen(week(accounts=(summary(),), findings=(found,)))
    assert f"one{words}" in page.text.replace("\u00a0", " ")


def test_findings_show_their_evidence() -> None:
    """Rows with dates and amounts; those that are not shown are counted."""
    rows = tuple(
        Exhibit(
            resource="exchanges",
            id=184_000 + number,
            at=datetime(2026, 11, 20, 8, tzinfo=UTC),
            before="credited",
            after="not credited",
            amount=Decimal("1.5"),
            currency="USD",
        )
        for number in range(9)
    )
    found = finding(kind=FindingKind.REWARDS_TAKEN_BACK, count=1_239, evidence=rows)
    text = seen(week(accounts=(summary(),), findings=(found,))).text.replace("\u00a0", " ")
    assert "order 18400020 Nov 2026, 08:00credited → not credited1.50 USD" in text
    assert "and 1,234 more" in text


def test_amounts_of_evidence_are_written_as_numbers() -> None:
    """What a reward was and is has all its digits, with the marks of the language."""
    row = Exhibit(resource="exchanges", id=7, at=END, before="-12.50125", after="0")
    last = Exhibit(resource="links", at=END, before="x.5")
    found = finding(kind=FindingKind.REWARDS_TAKEN_BACK, count=1, evidence=(row, last))
    text = seen(week(accounts=(summary(),), findings=(found,)), "ru").text
    assert "\u221212,50125 → 0" in text
    assert "последний клик" in text
    assert "x.5" in text


def test_findings_of_a_kind_stand_together_the_gravest_first() -> None:
    """A hundred sites that fail are one group, whose first five are seen at once."""
    low = finding(kind=FindingKind.ROWS_UNREADABLE, severity=Severity.LOW, count=1)
    many = [
        evolve(finding(kind=FindingKind.SITE_BEHIND), account=f"site-{number}")
        for number in range(9)
    ]
    page = seen(week(accounts=(summary(),), findings=(*many, low), more_findings=5))
    assert page.text.count("Sites that fail or are silent") == 1
    assert "and 4 more accounts" in page.text
    assert "and 5 more findings" in page.text
    assert page.text.index("Sites that fail") < page.text.index("Rows that cannot be read")


def test_currencies_are_never_added_up() -> None:
    """Each has a figure and a chart of its own."""
    accounts = [
        summary("one", "USD", accrued=Decimal(5)),
        summary("two", "EUR", accrued=Decimal(7)),
    ]
    days = tuple(DaySum(day=END.date(), account=one.name, accrued=one.accrued) for one in accounts)
    page = seen(week(accounts=tuple(accounts), days=days))
    assert "Credited rewards in USD" in page.text
    assert "Credited rewards in EUR" in page.text
    assert "12.00" not in page.text


def test_many_unnamed_currencies_are_small_charts() -> None:
    """Each on a scale of its own, the rest counted; none is added to another."""
    accounts = [
        summary(f"site-{number:02}", f"¤ site-{number:02}", accrued=Decimal(5), orders=number)
        for number in range(40)
    ]
    days = tuple(DaySum(day=END.date(), account=one.name, accrued=one.accrued) for one in accounts)
    page = seen(week(accounts=tuple(accounts), days=days))
    assert "Currency not named40" in page.text
    assert "compare shapes, not heights" in page.text
    assert "site-39 5.00\u00a0¤" in page.text
    assert "and 28 more accounts" in page.text


def test_currencies_beyond_the_charts_are_small_ones() -> None:
    """They are named, and stand apart from those that are not."""
    accounts = [summary(code, code, accrued=Decimal(5)) for code in "ABCDEFG"]
    days = tuple(DaySum(day=END.date(), account=one.name, accrued=one.accrued) for one in accounts)
    text = seen(week(accounts=tuple(accounts), days=days)).text
    assert "Credited rewards in E" in text
    assert "Credited rewards in F" not in text
    assert "More currencies" in text
    assert "F 5.00\u00a0F" in text.replace("\n", " ")
    assert "Currency not named" not in text


def test_steps_that_are_cut_are_added_to_the_rest() -> None:
    """What the table leaves out stands in its last row, summed up."""
    steps = tuple(
        FunnelStep(label=f"sub-{number}", clicks=10, accrued={"USD": Decimal(1)})
        for number in range(45)
    )
    rest = FunnelStep(label="", clicks=1_000, accrued={"USD": Decimal(100), "EUR": Decimal(3)})
    funnel = Funnel(by="sub_id", steps=steps, more=2, rest=rest)
    text = seen(week(accounts=(summary(),), funnels=(funnel,))).text.replace("\u00a0", " ")
    assert "and 7 more1,050" in text
    assert "3.00 EUR105.00 USD" in text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_could_not_be_joined_is_told(language: Language) -> None:
    """Orders without a click are in no row, and the note says how many and how much."""
    funnel = Funnel(
        by="sub_id",
        steps=(FunnelStep(label="x"),),
        unjoined_orders=21,
        unjoined_accrued={"USD": Decimal(5)},
        orders=100,
    )
    text = seen(week(accounts=(summary(),), funnels=(funnel,)), language).text.replace(
        "\u00a0", " "
    )
    said = {
        "en": "21 orders (21.0%) could not be joined to a click and stand in no row; credited for "
        "them: 5.00 USD.",
        "ru": "Не удалось связать с кликом 21 заявку (21,0 %): их нет ни в одной строке; начислено "
        "по ним: 5,00 USD.",
    }
    assert said[language] in text


def test_coverage_names_the_times_that_are_missing() -> None:
    """A strip, a share and the gaps; accounts without gaps are only counted."""
    start, gap = END - timedelta(days=7), END - timedelta(days=2)
    lines = (
        CoverageData(
            account="one", resource="links", ranges=(Range(start=None, end=END),), fraction=0
        ),
        CoverageData(
            account="one",
            resource="exchanges",
            ranges=(Range(start=start, end=gap, proven_at=END), Range(start=gap, end=END)),
            fraction=5 / 7,
        ),
        CoverageData(
            account="two",
            resource="links",
            ranges=(Range(start=start, end=END, proven_at=END),),
            fraction=1,
        ),
    )
    text = seen(week(accounts=(summary(), summary("two")), coverage=lines)).text.replace(
        "\u00a0", " "
    )
    assert "1 account is proven complete." in text
    assert "71.4% proven26 Nov 2026, 11:30 – 28 Nov 2026, 11:30" in text
    assert "0% provenfrom the beginning to 28 Nov 2026, 11:30" in text


def test_a_strip_of_very_many_gaps_stays_small() -> None:
    """The narrowest parts are drawn as one, and what is not proven stays so."""
    hour = timedelta(hours=1)
    ranges = tuple(
        Range(
            start=END + number * hour,
            end=END + (number + 1) * hour,
            proven_at=END if number % 2 else None,
        )
        for number in range(500)
    )
    line = CoverageData(account="one", resource="links", ranges=ranges, fraction=0.5)
    drawn = page_of("en").draw(week(accounts=(summary(),), coverage=(line,)))
    (drawing,) = re.findall(r'<svg class="strip".*?</svg>', drawn)
    assert drawing.count("<rect") <= 40
    assert "and 247 more" in drawn


@pytest.mark.parametrize(
    ("days", "grain", "count"),
    [(1, "day", 2), (90, "day", 91), (400, "week", 58), (1_000, "month", 33), (9_000, "year", 25)],
)
def test_the_bars_of_a_long_report_are_longer(days: int, grain: str, count: int) -> None:
    """Days, weeks, months or years, so that there are never too many."""
    data = week(accounts=(summary(),), start=END - timedelta(days=days))
    writer = Writer("en", "UTC")
    timeline = Timeline.of(data, writer)
    assert (timeline.grain, len(timeline.starts)) == (grain, count)
    label = timeline.name(0, writer, short=True).replace("\u00a0", " ")
    assert re.fullmatch({"day": r"\d+ \w+", "year": r"\d{4}"}.get(grain, r"\w+ \d{4}"), label)
    title = "Rewards by day" if grain == "day" else "Rewards over time"
    assert title in seen(data).text


@pytest.mark.parametrize("grain", get_args(Grain))
def test_sums_of_longer_times_are_bars_as_they_are(grain: Grain) -> None:
    """What was added up by week when it was gathered is drawn by week, in its place."""
    day = start_of(grain, date(2026, 11, 25))
    sums = (DaySum(day=day, account="one", accrued=Decimal(7)),)
    start = END - timedelta(days=20)
    data = week(accounts=(summary(accrued=Decimal(7)),), start=start, days=sums, grain=grain)
    rewards = rewards_of(data, Writer("en", "UTC"), Limits())
    assert rewards.grain == grain
    (chart,) = rewards.charts
    assert [total for _, total, _ in chart.rows] == [Decimal(7)]
    timeline = Timeline.of(data, Writer("en", "UTC"))
    assert day in timeline.starts
    assert start_of(grain, day) == day


def test_the_first_days_that_there_are() -> None:
    """They have no Monday before them."""
    assert start_of("week", date(1, 1, 1)) == date(1, 1, 1)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(1, "No longer in accounts.toml, so nothing new comes: left0."), (12, "and 2 more accounts.")],
)
def test_accounts_that_nobody_follows_are_named_once(count: int, shown: str) -> None:
    """A few of them, with how many more there are."""
    names = tuple(f"left{number}" for number in range(count))
    found = seen(week(accounts=(summary(),), unfollowed=names)).text
    assert shown in found
    assert found.count("left0") == 1
    assert "No longer" not in seen(week(accounts=(summary(),))).text


def test_rewards_of_all_days_are_in_the_chart() -> None:
    """Those of days outside the time, too: in the first or the last bar."""
    days = tuple(
        DaySum(day=day, account="one", accrued=Decimal(1))
        for day in (date(1, 1, 1), date(2026, 11, 1), date(2026, 11, 24), date(9999, 12, 31))
    )
    data = week(accounts=(summary(accrued=Decimal(4)),), days=days)
    (chart,) = rewards_of(data, Writer("en", "UTC"), Limits()).charts
    assert chart.total == 4
    assert [(time, total) for time, total, _ in chart.rows] == [
        ("28\u00a0Nov\u00a02026", Decimal(1)),
        ("24\u00a0Nov\u00a02026", Decimal(1)),
        ("21\u00a0Nov\u00a02026", Decimal(2)),
    ]
    open_ended = rewards_of(evolve(data, start=None), Writer("en", "UTC"), Limits())
    assert open_ended.grain == "year"
    assert sum(total for _, total, _ in open_ended.charts[0].rows) == 4


def test_accounts_beyond_the_colours_are_others() -> None:
    """Six have a colour, those left over one in common; the table's rows add up."""
    names = [f"site-{number}" for number in range(9)]
    days = tuple(
        DaySum(day=END.date(), account=name, accrued=Decimal(at + 1))
        for at, name in enumerate(names)
    )
    data = week(accounts=tuple(summary(name) for name in names), days=days)
    (chart,) = rewards_of(data, Writer("en", "UTC"), Limits()).charts
    ((_, total, values),) = chart.rows
    assert values == tuple(map(Decimal, (9, 8, 7, 6, 5, 4, 6)))
    assert total == sum(values) == 45
    assert "Others (3 accounts)" in chart.legend


def test_a_zone_that_is_not_known_here_is_no_error() -> None:
    """The days are then those of UTC."""
    assert "Partner report" in seen(week(accounts=(summary(),), zone="No/Where")).text


_SIGHTS = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "no green": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "no blue": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}
"""What is left of linear red, green and blue, after Machado, Oliveira and Fernandes (2009)."""


def lab(colour: str, sight: str) -> tuple[float, float, float]:
    """Return a colour in CIELAB, in which distances are as people see them."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts]
    red, green, blue = (
        sum(share * one for share, one in zip(row, linear, strict=True)) for row in _SIGHTS[sight]
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.0888
    x, y, z = (max(one, 0) ** (1 / 3) if one > 0.0089 else 7.787 * one + 0.138 for one in (x, y, z))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("sight", _SIGHTS)
def test_colours_are_told_apart(sight: str) -> None:
    """All colours of a chart differ well, light and dark, whichever cones somebody lacks."""
    page = page_of("en").draw(empty())
    for palette in re.findall(r"--s1: #.*", page):
        colours = [lab(one, sight) for one in re.findall(r"--s\d: #(\w{6})", palette)]
        assert len(colours) == 8
        assert min(math.dist(*pair) for pair in combinations(colours, 2)) > 15


def test_each_text_is_shown_somewhere() -> None:
    """No text is left over from what the page had once."""
    folder = Path(page.__file__).parent
    places = [*folder.glob("*.py"), *(folder / "templates").iterdir()]
    used = "".join(one.read_text("utf-8") for one in places if one.name != "words.py")
    families = (
        "severity_",
        "kind_",
        "resource_",
        "last_",
        "status_",
        "label_",
        "by_",
    )  # made of a value and this
    for key in (*TEXTS, *COUNTED):
        assert key.startswith(families) or f'"{key}"' in used or f"'{key}'" in used, key
