"""All texts of the report, each in English and in Russian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

__all__ = [
    "COUNTED",
    "LANGUAGES",
    "MONTHS",
    "MONTH_NAMES",
    "TEXTS",
    "WEEKDAYS",
    "Language",
    "counted",
    "text",
]

Language: TypeAlias = Literal["en", "ru"]
LANGUAGES: tuple[Language, ...] = ("en", "ru")

MONTHS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
    "ru": (
        "янв.",
        "февр.",
        "марта",
        "апр.",
        "мая",
        "июня",
        "июля",
        "авг.",
        "сент.",
        "окт.",
        "нояб.",
        "дек.",
    ),
}
"""As they stand in a date, after the day."""
MONTH_NAMES: Mapping[Language, tuple[str, ...]] = {
    "en": MONTHS["en"],
    "ru": (
        "янв.",
        "февр.",
        "март",
        "апр.",
        "май",
        "июнь",
        "июль",
        "авг.",
        "сент.",
        "окт.",
        "нояб.",
        "дек.",
    ),
}
"""As they stand alone."""
WEEKDAYS: Mapping[Language, tuple[str, ...]] = {
    "en": ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    "ru": ("Пн", "Вт", "Ср", "Чт", "Пт", "Сб", "Вс"),
}

TEXTS: Mapping[str, tuple[str, str]] = {
    # The frame.
    "title": ("Partner report", "Отчёт партнёра"),
    "skip": ("Skip to the report", "Перейти к отчёту"),
    "contents": ("Contents", "Содержание"),
    "period": ("{start} – {end}", "{start} – {end}"),
    "period_open": ("from the beginning to {end}", "с самого начала по {end}"),
    "zone": ("Days and hours: {zone}", "Дни и часы: {zone}"),
    "made": ("Made {moment}", "Составлен {moment}"),
    "live": ("Live", "Обновляется"),
    "token": ("Token", "Токен"),
    "token_text": (
        "This report is for those who have its token. Whoever started ppapi serve knows it.",
        "Этот отчёт открывается по токену. Его знает тот, кто запустил ppapi serve.",
    ),
    "token_wrong": ("This is not the token.", "Это не тот токен."),
    "enter": ("Open the report", "Открыть отчёт"),
    "show_table": ("Show as a table", "Показать таблицей"),
    "total": ("Total", "Всего"),
    "others": ("Others", "Остальные"),
    "none": ("(none)", "(нет)"),
    "direct": ("(direct)", "(прямой заход)"),
    "all_accounts": ("All accounts", "Все аккаунты"),
    "yes": ("yes", "да"),
    "never": ("never", "ни разу"),
    "unknown": ("unknown", "неизвестно"),
    "day": ("Day", "День"),
    "week": ("Week from", "Неделя с"),
    "month": ("Month", "Месяц"),
    "year": ("Year", "Год"),
    "account": ("Account", "Аккаунт"),
    "currency": ("Currency", "Валюта"),
    # An empty mirror.
    "empty_title": ("Nothing here yet", "Здесь пока ничего нет"),
    "empty_text": (
        "The mirror has no accounts. Fill it with {command}, then make the report anew.",
        (
            "В зеркале нет ни одного аккаунта. Наполните его командой {command} и составьте отчёт "
            "заново."
        ),
    ),
    # Key figures.
    "figures": ("Key figures", "Главное"),
    "credited_in": ("Credited, {currency}", "Начислено, {currency}"),
    "owed_now": ("Balance", "Баланс"),
    "forecast": ("Forecast", "Прогноз"),
    "paid": ("Paid", "Выплачено"),
    "unnamed": ("Currency not named", "Валюта не названа"),
    "more_currencies": ("More currencies", "Другие валюты"),
    "unnamed_short": ("each by itself, below", "каждая сама по себе, ниже"),
    "unnamed_text": (
        (
            "These sites have paid nothing out yet, and the API does not name their currency. Each "
            "stands for itself, marked ¤."
        ),
        (
            "Эти сайты ещё ничего не выплачивали, а API не называет их валюту. Каждый показан сам по "
            "себе и отмечен знаком ¤."
        ),
    ),
    "clicks": ("Clicks", "Клики"),
    "visitors": ("Visitors", "Посетители"),
    "orders": ("Orders", "Заявки"),
    "completed": ("Completed", "Выполнено"),
    "accrued_orders": ("Credited orders", "С начислением"),
    "accrued": ("Credited", "Начислено"),
    "of_clicks": ("{share} of clicks", "{share} от кликов"),
    "of_orders": ("{share} of orders", "{share} от заявок"),
    "of_completed": ("{share} of completed", "{share} от выполненных"),
    # Findings.
    "hand": ("Needs a hand", "Требует внимания"),
    "unfollowed": (
        "No longer in accounts.toml, so nothing new comes: {names}.",
        "Больше нет в accounts.toml, поэтому нового не приходит: {names}.",
    ),
    "hand_none": ("Nothing needs a hand", "Всё в порядке"),
    "hand_none_text": (
        (
            "No rewards taken back, no silent sites, no payouts that wait for too long, and balances "
            "add up."
        ),
        "Начисления не отозваны, сайты на связи, выплаты не задерживаются, балансы сходятся.",
    ),
    "severity_high": ("Money at stake", "Речь о деньгах"),
    "severity_medium": ("Look into it", "Нужно разобраться"),
    "severity_low": ("Report incomplete", "Отчёт неполон"),
    "kind_rewards_taken_back": ("Rewards taken back", "Отозванные начисления"),
    "kind_rewards_taken_back_do": (
        "They had been credited and are no longer, or their orders are gone. Ask the site why.",
        (
            "Вознаграждения были начислены, а теперь сняты, или исчезли сами заявки. Спросите у сайта, "
            "почему."
        ),
    ),
    "kind_site_behind": ("Sites that fail or are silent", "Сайты, которые не отвечают"),
    "kind_site_behind_do": (
        "The mirror has not caught up for long. See what ppapi doctor says of the account.",
        "Зеркало давно не может дочитать данные. Проверьте аккаунт командой ppapi doctor.",
    ),
    "kind_site_quiet": ("Nothing comes any more", "Ничего не приходит"),
    "kind_site_quiet_do": (
        "There used to be clicks and orders. See whether your links still lead to the site.",
        "Раньше были клики и заявки. Проверьте, ведут ли ваши ссылки на сайт.",
    ),
    "kind_payout_waiting": ("Payouts that wait for too long", "Выплаты задерживаются"),
    "kind_payout_waiting_do": (
        "They were requested and are not done. Ask the site.",
        "Запрошены, но не выполнены. Обратитесь к сайту.",
    ),
    "kind_accruals_lag": ("Rewards that are late", "Начисления запаздывают"),
    "kind_accruals_lag_do": (
        "The orders were carried out and nothing has been credited for them. Ask the site.",
        "Заявки выполнены, а вознаграждение за них не начислено. Обратитесь к сайту.",
    ),
    "kind_clicks_without_orders": ("Clicks without orders", "Клики без заявок"),
    "kind_clicks_without_orders_do": (
        (
            "Visitors come as before, and their orders are not counted for you any more. Order "
            "through a link of your own and see whether it appears."
        ),
        (
            "Посетители приходят как прежде, но их заявки вам больше не засчитываются. Создайте "
            "заявку по своей ссылке и проверьте, появится ли она."
        ),
    ),
    "kind_balance_unexplained": ("Balances that do not add up", "Балансы не сходятся"),
    "kind_balance_unexplained_do": (
        "The balance is not what rewards and payouts add up to. Compare it with the site.",
        "Баланс не равен сумме начислений за вычетом выплат. Сверьте его с сайтом.",
    ),
    "kind_coverage_incomplete": ("Times that are not proven", "Неподтверждённые периоды"),
    "kind_coverage_incomplete_do": (
        "Rows of these times may be missing here. Run ppapi sync until it has caught up.",
        (
            "За эти периоды здесь может не хватать строк. Запускайте ppapi sync, пока он не дочитает "
            "всё."
        ),
    ),
    "kind_rows_unreadable": ("Rows that cannot be read", "Нечитаемые строки"),
    "kind_rows_unreadable_do": (
        "The site lists them in a form that makes no sense; they are counted nowhere.",
        "Сайт отдаёт их в непонятном виде; они нигде не учтены.",
    ),
    "fact_since": ("since {moment}", "с {moment}"),
    "fact_lasting": ("for {time}", "уже {time}"),
    "fact_oldest": ("the oldest for {time}", "самое долгое — {time}"),
    "fact_usual": ("usually {time}", "обычно {time}"),
    "fact_expected": ("should be {amount}", "должно быть {amount}"),
    "fact_difference": ("difference {amount}", "разница {amount}"),
    "fact_usual_orders": (
        "so many usually bring {amount}",
        "обычно при стольких кликах — {amount}",
    ),
    "fact_usually": ("usually {amount} in such a time", "обычно за такое время {amount}"),
    "fact_balance": ("balance {amount}", "баланс {amount}"),
    "evidence": ("Evidence", "Подтверждения"),
    "evidence_none": (
        "There are no rows to show for it.",
        "Отдельных строк, которые это показывают, нет.",
    ),
    "what": ("What", "Что"),
    "when": ("When", "Когда"),
    "change": ("Change", "Изменение"),
    "amount": ("Amount", "Сумма"),
    "last_links": ("last click", "последний клик"),
    "last_exchanges": ("last order", "последняя заявка"),
    "resource_links": ("click", "клик"),
    "resource_exchanges": ("order", "заявка"),
    "resource_payouts": ("payout", "выплата"),
    "resource_info": ("balance", "баланс"),
    # Rewards.
    "rewards": ("Rewards by day", "Начисления по дням"),
    "rewards_over": ("Rewards over time", "Начисления по времени"),
    "rewards_note": (
        "Credited rewards by the time of the order. Currencies are never added up.",
        "Начисленные вознаграждения по времени заявки. Разные валюты не складываются.",
    ),
    "rewards_none": ("No rewards were credited in this time.", "За это время начислений не было."),
    "rewards_in": ("Credited rewards in {currency}", "Начислено, {currency}"),
    "rewards_chart": (
        (
            "Credited rewards in {currency}, {total} in all, as bars over time stacked by account. The "
            "table below has the same values."
        ),
        (
            "Начисления в валюте {currency}, всего {total}: столбцы по времени, сложенные по "
            "аккаунтам. Те же значения в таблице ниже."
        ),
    ),
    "unnamed_chart": ("Credited over time, {total} in all", "Начисления по времени, всего {total}"),
    "unnamed_note": (
        "Each is drawn on a scale of its own: compare shapes, not heights.",
        "У каждого свой масштаб: сравнивайте форму, а не высоту.",
    ),
    # Funnels.
    "funnel": ("From click to payout", "От клика до выплаты"),
    "funnel_note": (
        "Clicks and orders of this time. Orders are joined to clicks by the visitor.",
        "Клики и заявки за это время. Заявки связаны с кликами по посетителю.",
    ),
    "funnel_all": ("All accounts", "Все аккаунты"),
    "by_account": ("By account", "По аккаунтам"),
    "by_sub_id": ("By sub-id", "По Sub-ID"),
    "by_referrer": ("By referrer", "По источникам переходов"),
    "label_account": ("Account", "Аккаунт"),
    "label_sub_id": ("Sub-id", "Sub-ID"),
    "label_referrer": ("Referrer", "Источник"),
    "unjoined": (
        "{count} ({share}) could not be joined to a click and stand in no row",
        "Не удалось связать с кликом {count} ({share}): их нет ни в одной строке",
    ),
    "unjoined_amount": (
        "{text}; credited for them: {amount}.",
        "{text}; начислено по ним: {amount}.",
    ),
    "unjoined_plain": ("{text}.", "{text}."),
    "all_joined": (
        "All orders could be joined to a click.",
        "Все заявки удалось связать с кликами.",
    ),
    "funnel_none": (
        "No clicks and no orders in this time.",
        "За это время нет ни кликов, ни заявок.",
    ),
    "best_sub_ids": ("Best sub-ids", "Лучшие Sub-ID"),
    "best_in": ("Credited, {currency}", "Начислено, {currency}"),
    "best_none": (
        "No rewards were credited for any sub-id.",
        "Ни по одному Sub-ID начислений нет.",
    ),
    # Directions and hours.
    "directions": ("Directions of exchange", "Направления обмена"),
    "directions_none": ("No orders in this time.", "За это время нет заявок."),
    "direction": ("Direction", "Направление"),
    "hours": ("Hours and weekdays", "Часы и дни недели"),
    "hours_clicks": ("Clicks by weekday and hour", "Клики по дням недели и часам"),
    "hours_orders": ("Orders by weekday and hour", "Заявки по дням недели и часам"),
    "hours_chart": (
        "{what}: {total} in all, most on {day} from {hour}. The table below has the same values.",
        "{what}: всего {total}, больше всего — {day} с {hour}. Те же значения в таблице ниже.",
    ),
    "hours_none": ("Nothing to count in this time.", "За это время считать нечего."),
    "weekday": ("Weekday", "День недели"),
    "fewer": ("fewer", "меньше"),
    "more": ("more", "больше"),
    # Payouts and what is owed.
    "payouts": ("Payouts and what is owed", "Выплаты и долги сайтов"),
    "owed": ("What the sites owe", "Сколько должны сайты"),
    "owed_note": ("As the sites told it last.", "По последним данным сайтов."),
    "balance": ("Balance", "Баланс"),
    "due": ("Can be paid out now", "Можно вывести сейчас"),
    "waiting": ("Requested, not paid", "Запрошено, не выплачено"),
    "min_payout": ("Least payout", "Минимум выплаты"),
    "last_synced": ("Caught up", "Данные на"),
    "taken_back": ("Taken back", "Отозвано"),
    "accounts": ("Accounts", "Аккаунты"),
    "balances": ("Balances by account", "Балансы по аккаунтам"),
    "payout_list": ("Payouts", "Выплаты"),
    "payouts_none": ("No payouts in this time.", "За это время выплат не было."),
    "requested": ("Requested", "Запрошена"),
    "status": ("Status", "Состояние"),
    "sent": ("As paid", "К получению"),
    "status_0": ("waiting", "ожидает"),
    "status_1": ("done", "выполнена"),
    "status_2": ("cancelled", "отменена"),
    "status_3": ("cancelled by you", "отменена вами"),
    "gone": ("no longer listed", "больше не в списке"),
    # Coverage.
    "coverage": ("How complete this is", "Полнота данных"),
    "coverage_note": (
        "A time is proven when the site's answers have shown that all its rows are here.",
        "Период подтверждён, когда ответы сайта доказали, что здесь есть все его строки.",
    ),
    "coverage_all": ("All of it is proven complete.", "Всё подтверждено полностью."),
    "coverage_none": ("Nothing is known of it.", "Сведений нет."),
    "coverage_part": ("{share} proven", "подтверждено {share}"),
    "links": ("Clicks", "Клики"),
    "exchanges": ("Orders", "Заявки"),
    "info": ("Balances", "Балансы"),
    "payout_rows": ("Payouts", "Выплаты"),
    # How things are counted.
    "how": ("How things are counted", "Как это посчитано"),
    "how_credited": (
        (
            "Credited: rewards that the site has put on the balance, by the time of their orders. "
            "Forecast: rewards of orders that may still be credited; cancelled ones do not count."
        ),
        (
            "Начислено — вознаграждения, которые сайт зачислил на баланс, по времени заявок. Прогноз — "
            "вознаграждения заявок, которые ещё могут быть начислены; отменённые не считаются."
        ),
    ),
    "how_currency": (
        (
            "The API names no base currency. A site's is the one that its payouts are taken from; "
            "before the first payout it is unknown (¤). Amounts are exact, rounded only for display; "
            "point at one to see all digits."
        ),
        (
            "API не называет базовую валюту сайта. Она узнаётся по выплатам; до первой выплаты она "
            "неизвестна (¤). Суммы точные и округлены только на экране; наведите курсор, чтобы "
            "увидеть все знаки."
        ),
    ),
    "how_joined": (
        (
            "An order belongs to the sub-id and referrer of its visitor's click. Sites delete clicks "
            "after about 60 days, so old orders often have none; they are counted apart."
        ),
        (
            "Заявка относится к Sub-ID и источнику клика того же посетителя. Сайты удаляют клики "
            "примерно через 60 дней, поэтому у старых заявок их часто нет; такие посчитаны отдельно."
        ),
    ),
    "how_paid": (
        "Payouts are of an account as a whole, so they are shown by account only.",
        "Выплаты относятся к аккаунту целиком, поэтому показаны только по аккаунтам.",
    ),
}
"""English, Russian."""

COUNTED: Mapping[str, tuple[tuple[str, str], tuple[str, str, str]]] = {
    "more_rows": (("and {n} more", "and {n} more"), ("и ещё {n}", "и ещё {n}", "и ещё {n}")),
    "accounts": (
        ("{n} account", "{n} accounts"),
        ("{n} аккаунт", "{n} аккаунта", "{n} аккаунтов"),
    ),
    "more_accounts": (
        ("and {n} more account", "and {n} more accounts"),
        ("и ещё {n} аккаунт", "и ещё {n} аккаунта", "и ещё {n} аккаунтов"),
    ),
    "more_currencies": (
        ("and {n} more currency", "and {n} more currencies"),
        ("и ещё {n} валюта", "и ещё {n} валюты", "и ещё {n} валют"),
    ),
    "more_findings": (
        ("and {n} more finding", "and {n} more findings"),
        ("и ещё {n} замечание", "и ещё {n} замечания", "и ещё {n} замечаний"),
    ),
    "complete_accounts": (
        ("{n} account is proven complete", "{n} accounts are proven complete"),
        (
            "{n} аккаунт подтверждён полностью",
            "{n} аккаунта подтверждены полностью",
            "{n} аккаунтов подтверждены полностью",
        ),
    ),
    "clicks": (("{n} click", "{n} clicks"), ("{n} клик", "{n} клика", "{n} кликов")),
    "orders": (("{n} order", "{n} orders"), ("{n} заявка", "{n} заявки", "{n} заявок")),
    "events": (
        ("{n} click or order", "{n} clicks and orders"),
        ("{n} клик или заявка", "{n} клика и заявки", "{n} кликов и заявок"),
    ),
    "unjoined": (("{n} order", "{n} orders"), ("{n} заявку", "{n} заявки", "{n} заявок")),
    "rewards": (
        ("{n} reward", "{n} rewards"),
        ("{n} начисление", "{n} начисления", "{n} начислений"),
    ),
    "payouts": (("{n} payout", "{n} payouts"), ("{n} выплата", "{n} выплаты", "{n} выплат")),
    "times": (("{n} time", "{n} times"), ("{n} период", "{n} периода", "{n} периодов")),
    "rows": (("{n} row", "{n} rows"), ("{n} строка", "{n} строки", "{n} строк")),
    "seconds": (("{n} second", "{n} seconds"), ("{n} секунда", "{n} секунды", "{n} секунд")),
    "minutes": (("{n} minute", "{n} minutes"), ("{n} минута", "{n} минуты", "{n} минут")),
    "hours": (("{n} hour", "{n} hours"), ("{n} час", "{n} часа", "{n} часов")),
    "days": (("{n} day", "{n} days"), ("{n} день", "{n} дня", "{n} дней")),
    "months": (("{n} month", "{n} months"), ("{n} месяц", "{n} месяца", "{n} месяцев")),
    "years": (("{n} year", "{n} years"), ("{n} год", "{n} года", "{n} лет")),
}
"""What is counted: one, other in English; one, few, many in Russian."""


def text(language: Language, key: str) -> str:
    """Return a text, with its placeholders.

    Raises:
        KeyError: there is no such text.
    """
    return TEXTS[key][LANGUAGES.index(language)]


def counted(language: Language, key: str, number: int) -> str:
    """Return the form that goes with a number, with its placeholder `{n}`.

    Raises:
        KeyError: there is no such text.
    """
    english, russian = COUNTED[key]
    if language == "en":
        return english[number != 1]
    tens, ones = number // 10 % 10, number % 10
    if tens == 1 or ones == 0 or ones > 4:
        return russian[2]
    return russian[ones != 1]
