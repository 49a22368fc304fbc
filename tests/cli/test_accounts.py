"""`ppapi init`, `add`, `list`, `remove`: the accounts file, and who must not see the key."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import threading
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from ppapi_async.account import Account, Secret
from ppapi_async.accounts_file import inspect_accounts, load_accounts
from ppapi_async.cli.commands import remove
from ppapi_async.cli.editing import accounts_edit as edit_accounts
from ppapi_async.cli.editing import new_account
from ppapi_async.cli.exits import CommandFailed
from ppapi_async.cli.main import main
from tests.cli.terminal import Ran, Terminal, ppapi
from tests.leaks import assert_absent

KEY = "Ab3kEy5678" * 3 + "Wxy12"
OTHER_KEY = "Zq9oTher42" * 3 + "Mno34"
LINK = f"https://one.example/api.html?api_action=pp&api_key={KEY}&method=get_info"
OTHER_LINK = f"https://two.example/api.html?api_action=pp&api_key={OTHER_KEY}&method=get_info"
WRITTEN_BY_HAND = """\
# all of them
# (mine)
[defaults]
timezone = "Europe/Moscow" # most

[[accounts]]
url = "https://one.example"   # the first
api_key = "{key}"

# not about anybody

# the second
[[accounts]]
key_command = [
  "pass",  # ours
  "show {{name}}",
]
url = 'https://two.example'

[[accounts]]
url = "https://three.example"
key_env = "KEY_THREE"
"""


@pytest.fixture
def file(home: Path) -> Path:
    """Return where the accounts file is looked for."""
    return home / "config" / "ppapi" / "accounts.toml"


@pytest.fixture
def by_hand(file: Path) -> Path:
    """Return an accounts file that somebody has written."""
    file.parent.mkdir(parents=True)
    file.write_text(WRITTEN_BY_HAND.format(key=KEY))
    file.chmod(0o600)
    return file


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands in this process ask, as on a terminal; the input is what is typed."""
    monkeypatch.setattr(new_account, "may_ask", lambda: True)
    monkeypatch.setenv("TZ", "Asia/Tbilisi")


def assert_silent(*ran: Ran) -> None:
    """Assert that no command has told a key."""
    assert_absent((KEY, OTHER_KEY), *(one.out for one in ran), *(one.err for one in ran))


def names(file: Path) -> list[str]:
    """Return the names of the accounts in a file."""
    return [one.account.name for one in inspect_accounts(file, file.read_bytes())]


# --- init


def test_init_reads_links_from_a_pipe_and_asks_nothing(file: Path) -> None:
    """Each line is an account; file and folder are for this user only."""
    ran = ppapi("init", "--timezone", "Europe/Moscow", input=f"{LINK}\n\n  {OTHER_LINK}\r\n")
    assert (ran.code, ran.out) == (0, f"wrote {file} with 2 accounts\n")
    accounts = load_accounts(file)
    assert [(one.name, one.url, one.timezone) for one in accounts] == [
        ("one.example", "https://one.example/api.html", "Europe/Moscow"),
        ("two.example", "https://two.example/api.html", "Europe/Moscow"),
    ]
    assert [one.api_key.reveal() for one in accounts] == [KEY, OTHER_KEY]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [*file.parent.iterdir()] == [file]
    assert_silent(ran)


def test_init_says_what_zone_it_takes(file: Path) -> None:
    """Without --timezone nothing is guessed in a script, and the defaults of the library hold."""
    ran = ppapi("init", input=LINK)
    assert "UTC" in ran.err
    assert "timezone" not in file.read_text()


def test_init_replaces_nothing(file: Path) -> None:
    """A file, or a link that leads nowhere, stays as it is."""
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    ran = ppapi("init", input=LINK)
    assert (ran.code, file.read_text()) == (2, "mine")
    assert "ppapi add" in ran.err
    file.unlink()
    file.symlink_to(file.parent / "nowhere")
    assert ppapi("init", input=LINK).code == 2
    assert [*file.parent.iterdir()] == [file]
    assert_silent(ran)


@pytest.mark.parametrize("has_links", [True, False], ids=["links", "no links"])
def test_init_replaces_nothing_that_appears_meanwhile(
    file: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """Whoever was faster keeps the file, whether or not the file system has hard links."""
    link = os.link

    def late(draft: str, path: str) -> None:
        Path(path).write_text("faster")
        if not has_links:
            raise PermissionError(1, "Operation not permitted")
        link(draft, path)

    monkeypatch.setattr(os, "link", late)
    ran = ppapi("init", input=LINK)
    assert (ran.code, file.read_text()) == (2, "faster")
    assert [*file.parent.iterdir()] == [file]


def test_init_needs_no_hard_links(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems have none."""

    def refuse(draft: str, path: str) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    assert ppapi("init", input=LINK).code == 0
    assert names(file) == ["one.example"]


@pytest.mark.parametrize("command", ["init", "add"])
@pytest.mark.parametrize("argument", [LINK, KEY, "--", "-", "one"])
def test_a_link_as_an_argument_is_refused(by_hand: Path, command: str, argument: str) -> None:
    """It would be in the shell's history; the message says what to do and does not repeat it."""
    more = [LINK] if argument == "--" else []
    before = by_hand.read_bytes()
    ran = ppapi(command, argument, *more, input=LINK)
    assert ran.code == 2
    assert f"ppapi {command} < FILE" in ran.err
    assert by_hand.read_bytes() == before
    assert_silent(ran)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url", LINK],
        ["--key-env", KEY, "--url", "https://x.example"],
        ["--key-file", KEY, "--url", "https://x.example"],
        ["--timezone", KEY],
        ["--name", LINK],
        ["--link", LINK],
        [f"--key={KEY}"],
        [f"-{KEY}"],
        ["--name", KEY],
    ],
    ids=lambda arguments: arguments[0].partition("=")[0][:5],
)
def test_no_option_takes_a_key(by_hand: Path, arguments: list[str]) -> None:
    """A key in place of something else is refused, and not repeated."""
    before = by_hand.read_bytes()
    ran = ppapi("add", *arguments, input=LINK)
    assert ran.code == 2
    assert by_hand.read_bytes() == before
    assert_silent(ran)


@pytest.mark.parametrize(
    "arguments",
    [[LINK], ["list", LINK], ["list", f"--json={KEY}"], ["remove", LINK], ["remove", KEY]],
    ids=lambda arguments: " ".join(arguments[:-1]) or "ppapi",
)
def test_no_command_repeats_a_key(by_hand: Path, arguments: list[str]) -> None:
    """Whatever it was passed for."""
    ran = ppapi(*arguments)
    assert ran.code == 2
    assert_silent(ran)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no link on stdin"),
        ("\n \n", "no link on stdin"),
        ("hello", "no link with a key"),
        ("https://one.example/?rid=5", "no link with a key"),
        ("https://one.example/api.html?api_key=", "no link with a key"),
        (f"ftp://one.example/api.html?api_key={KEY}", "not http or https"),
        (f"https://?api_key={KEY}", "no host"),
        (LINK.replace("https", "http"), "--allow-http"),
        (f"{LINK}\n{LINK}", "line 2: that is the account 'one.example'"),
        (f"{LINK}\n{LINK.replace(KEY, OTHER_KEY)}", "line 2: name: there is an account"),
        (f"{OTHER_LINK}\nhello\n{LINK}&api_key={KEY}", "line 2: "),
    ],
    ids=[
        "empty",
        "blank",
        "word",
        "page",
        "no key",
        "ftp",
        "no host",
        "http",
        "twice",
        "name",
        "2",
    ],
)
def test_what_is_no_link_is_told(file: Path, text: str, says: str) -> None:
    """By line and without the key; nothing is written, not even those that are good."""
    ran = ppapi("init", input=text)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert not file.parent.exists()
    assert_silent(ran)


@pytest.mark.parametrize(
    "text",
    [
        f'  "{LINK}",',
        f"Ваша ссылка: «{LINK}».",
        f'<a href="{LINK.replace("&", "&amp;")}">link</a>',
        f"({LINK})",
    ],
    ids=["quotes", "words", "html", "brackets"],
)
def test_a_link_is_found_in_what_was_pasted_with_it(file: Path, text: str) -> None:
    """People mark a little more than the link, or copy it out of a page's source."""
    ran = ppapi("init", input=text)
    assert ran.code == 0, ran.err
    (account,) = load_accounts(file)
    assert (account.base_url, account.api_key.reveal()) == ("https://one.example", KEY)
    assert_silent(ran)


def test_input_that_is_no_text_is_told(file: Path) -> None:
    """Such as the wrong file."""
    with CliRunner().isolation(input=b"\xff\xfe" + LINK.encode()) as (_, err, *_rest):
        assert main(["init"]) == 2
        sys.stderr.flush()
        assert b"not UTF-8" in err.getvalue()


@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        (["--key-env", "KEY_ONE"], {"key_env": "KEY_ONE"}),
        (["--key-file", "one.key"], {"key_file": "one.key"}),
        (["--key-command", "pass show 'a b'"], {"key_command": ["pass", "show", "a b"]}),
    ],
    ids=["env", "file", "command"],
)
def test_init_with_a_key_that_is_kept_elsewhere(
    file: Path, tmp_path: Path, arguments: list[str], source: dict[str, object]
) -> None:
    """The file holds no key then; nothing is read from stdin, no command is run."""
    if "key_file" in source:  # in a shell it starts where one is
        source = {"key_file": str(tmp_path / "one.key")}
    ran = ppapi("init", "--url", "https://one.example", *arguments)
    assert ran.code == 0, ran.err
    (row,) = tomllib.loads(file.read_text())["accounts"]
    assert row == {"url": "https://one.example", **source}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--key-env", "KEY_ONE"],
        ["--user-api"],
        ["--url", "https://one.example", "--key-env", "A", "--key-file", "b"],
        ["--url", "https://one.example", "--key-env", "A", "--user-api"],
        ["--url", "nonsense", "--key-env", "A"],
        ["--url", "http://one.example", "--key-env", "A"],
        ["--url", "https://one.example", "--key-env", "A", "--name", "a\x1b[2J"],
        ["--url", "https://one.example", "--key-command", "'"],
        ["--timezone", "Nowhere/City"],
    ],
    ids=["no url", "no url 2", "two", "login", "url", "http", "name", "command", "zone"],
)
def test_options_that_do_not_go_together(file: Path, arguments: list[str]) -> None:
    """They are refused, and nothing is written."""
    ran = ppapi("init", *arguments, input=LINK)
    assert ran.code == 2
    assert ran.err.startswith("ppapi init: ")
    assert "\x1b" not in ran.err
    assert not file.exists()


def test_a_key_from_a_pipe_where_the_url_was_said(file: Path) -> None:
    """As `pass show` prints it; with --user-api the login stands above it."""
    assert ppapi("init", "--url", "https://one.example/", input=f"{KEY}\n").code == 0
    both = f"{OTHER_KEY}\n{KEY}\n"
    ran = ppapi("add", "--url", "https://user.example", "--user-api", input=both)
    assert ran.code == 0, ran.err
    one, two = load_accounts(file)
    assert one.api_key.reveal() == two.api_key.reveal() == KEY
    assert two.api_login is not None
    assert two.api_login.reveal() == OTHER_KEY
    assert_silent(ran)
    assert ppapi("add", "--url", "https://x.example", "--user-api", input="login").code == 2
    assert ppapi("add", "--url", "https://x.example", input="a\nb\n").code == 2


def test_http_is_for_those_who_want_it(file: Path) -> None:
    """The file says so, too, or it could not be read."""
    assert ppapi("init", "--allow-http", input=LINK.replace("https", "http")).code == 0
    (account,) = load_accounts(file)
    assert account.allow_http


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With the file's path, and without leaving anything."""
    (tmp_path / "a file").write_text("")
    ran = ppapi("init", "--accounts", str(tmp_path / "a file" / "accounts.toml"), input=LINK)
    assert ran.code == 1
    assert "accounts.toml: " in ran.err
    assert "nothing was changed" in ran.err
    assert [*tmp_path.iterdir()] == [tmp_path / "a file"]
    assert_silent(ran)


# --- on a terminal


@pytest.mark.usefixtures("asked")
def test_pasting_the_link_is_enough(file: Path) -> None:
    """Enter takes what is suggested: the host as the name, this machine's zone."""
    ran = ppapi("init", input=f"{LINK}\n\n\n\n")
    assert ran.code == 0, ran.err
    (account,) = load_accounts(file)
    assert (account.name, account.timezone) == ("one.example", "Asia/Tbilisi")
    assert account.api_key.reveal() == KEY
    assert "hours" in ran.err  # why the zone matters
    assert_silent(ran)


@pytest.mark.usefixtures("asked")
def test_what_is_wrong_is_asked_again(file: Path) -> None:
    """A link, a name that is taken, a zone; what is told does not repeat the key."""
    typed = [
        *("", "hello", LINK.replace("https", "http"), LINK, "main", "Tbilisy", "Moskow"),
        *("Europe/Moscow", LINK, OTHER_LINK, "main", KEY, "second", "", ""),
    ]
    ran = ppapi("init", input="\n".join(typed) + "\n")
    assert ran.code == 0, ran.err
    accounts = load_accounts(file)
    assert [(one.name, one.timezone) for one in accounts] == [
        ("main", "Europe/Moscow"),
        ("second", "Europe/Moscow"),
    ]
    for words in ("--allow-http", "Asia/Tbilisi?", "Europe/Moscow?", "there already", "'main' al"):
        assert words in ran.err
    assert_absent(OTHER_KEY, ran.out, ran.err)


@pytest.mark.usefixtures("asked")
def test_a_second_account_of_a_site_is_suggested_another_name(file: Path) -> None:
    """Two partners at one site have one host; the last zone is suggested."""
    assert ppapi("init", "--timezone", "Europe/Kyiv", "--name", "one.example", input=LINK).code == 0
    ran = ppapi("add", input=LINK.replace(KEY, OTHER_KEY) + "\n\n\n\n")
    assert ran.code == 0, ran.err
    assert [(a.name, a.timezone) for a in load_accounts(file)] == [
        ("one.example", "Europe/Kyiv"),
        ("one.example-2", "Europe/Kyiv"),
    ]


@pytest.mark.usefixtures("asked")
def test_a_key_is_asked_for_where_the_url_was_said(file: Path) -> None:
    """And the login before it, for a User API; a key that cannot be one is asked for again."""
    typed = f"{OTHER_KEY}\na key\n{OTHER_KEY}\n{KEY}\n\n\n"
    ran = ppapi("init", "--url", "https://one.example", "--user-api", input=typed)
    assert ran.code == 0, ran.err
    (account,) = load_accounts(file)
    assert account.api_key.reveal() == KEY
    assert "white space" in ran.err
    assert_silent(ran)
    assert ppapi("add", "--url", "nonsense", input=KEY).code == 2


@pytest.mark.usefixtures("asked")
def test_name_and_zone_are_asked_for_where_the_key_is_elsewhere(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is; where this machine has no zone of its own, most sites' is suggested."""
    monkeypatch.setenv("TZ", "UTC")
    ran = ppapi("init", "--url", "https://one.example", "--key-env", "KEY_X", input="x\n\n")
    assert ran.code == 0, ran.err
    (entry,) = inspect_accounts(file)
    assert (entry.account.name, entry.account.timezone) == ("x", "Europe/Moscow")


def test_the_link_is_not_echoed_on_a_terminal(file: Path) -> None:
    """What is pasted does not show; the rest is asked for, and what comes next is told."""
    with Terminal("init", env={"TZ": "Europe/Moscow"}) as terminal:
        terminal.wait_for_hidden("Link (not shown)")
        terminal.type(f"{LINK}\n")
        terminal.wait_for("Name [one.example]")
        terminal.type("main\n")
        terminal.wait_for("Time zone [Europe/Moscow]")
        terminal.type("\n")
        terminal.wait_for_hidden("One more link")
        terminal.type("\n")
        assert terminal.end() == 0
        assert "ppapi doctor" in terminal.text
        assert_absent(KEY, terminal.raw)
    assert names(file) == ["main"]


def test_ctrl_c_at_a_prompt_leaves_nothing(home: Path) -> None:
    """Not even a folder, and the terminal echoes again."""
    with Terminal("init") as terminal:
        terminal.wait_for_hidden("Link (not shown)")
        terminal.type(f"{LINK}\n")
        terminal.wait_for("Name [one.example]: ")
        terminal.type("\x03")
        terminal.type("\n")  # wakes a read that began between the signal and its handling
        assert terminal.end() == 130
        assert "interrupted" in terminal.text
        assert_absent(KEY, terminal.raw)
    assert [*home.iterdir()] == []


# --- add


def test_add_changes_nothing_else(by_hand: Path) -> None:
    """What was written stays byte for byte, with its comments and mode."""
    before = by_hand.read_text()
    by_hand.chmod(0o640)
    ran = ppapi("add", "--name", "fourth", input=OTHER_LINK.replace("two", "four"))
    assert ran.code == 0, ran.err
    assert by_hand.read_text().startswith(before)
    assert names(by_hand) == ["one.example", "two.example", "three.example", "fourth"]
    assert (
        inspect_accounts(by_hand, by_hand.read_bytes())[3].account.timezone == "Europe/Moscow"
    )  # of the defaults
    assert stat.S_IMODE(by_hand.stat().st_mode) == 0o640
    assert "others can read" in ran.err
    assert [*by_hand.parent.iterdir()] == [by_hand]
    assert_silent(ran)


@pytest.mark.parametrize(
    "text",
    [
        f'accounts = [ {{ url = "https://one.example", api_key = "{KEY}" }} ] # mine\n',
        f'\ufeff[[accounts]]\r\nurl = "https://one.example"\r\napi_key = "{KEY}"\r\n# end\r\n',
        f'[[accounts]]\nurl = "https://one.example"\napi_key = "{KEY}"',
    ],
    ids=["inline", "of Windows", "no end of line"],
)
def test_add_and_remove_in_files_of_other_habits(file: Path, text: str) -> None:
    """Inline tables, a byte order mark, other line ends, no line end: all of it stays."""
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode())
    assert ppapi("add", "--name", "x", "--timezone", "Europe/Kyiv", input=OTHER_LINK).code == 0
    assert names(file) == ["one.example", "x"]
    assert file.read_bytes().count(b"\r\n") in (0, file.read_bytes().count(b"\n"))
    ran = ppapi("remove", "x", "--yes")
    assert ran.code == 0, ran.err
    left = file.read_bytes().decode().rstrip()
    assert left.replace("}, ]", "} ]") == text.rstrip()  # a comma more is no harm


def test_two_at_once_lose_none(by_hand: Path) -> None:
    """Each sees what the other has added."""
    barrier = threading.Barrier(4)
    site = "https://site{}.example"

    def add(number: int) -> None:
        barrier.wait()
        account = Account(site.format(number), KEY)
        new = edit_accounts.NewAccount(account, "api_key", Secret(KEY), has_zone=False)
        edit_accounts.append(by_hand, [new])

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names(by_hand)) == 3 + 4


def test_a_change_of_an_editor_is_not_undone(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor takes no lock: what it has saved meanwhile stays."""
    check = inspect_accounts
    calls: list[int] = []

    def checked(path: Path, content: bytes) -> object:
        calls.append(1)
        if len(calls) == 2:  # what would be the file is checked
            by_hand.write_text("saved meanwhile")
        return check(path, content)

    monkeypatch.setattr(edit_accounts, "inspect_accounts", checked)
    ran = ppapi("remove", "one.example", "--yes")
    assert ran.code == 1
    assert "meanwhile" in ran.err
    assert by_hand.read_text() == "saved meanwhile"
    assert [*by_hand.parent.iterdir()] == [by_hand]


@pytest.mark.parametrize("command", [["add"], ["remove", "one", "--yes"], ["list"]], ids=str)
def test_a_file_that_is_wrong_is_told_by_line_and_stays(by_hand: Path, command: list[str]) -> None:
    """Nothing is changed in what cannot be read."""
    text = by_hand.read_text() + 'nonsense = "\n'
    by_hand.write_text(text)
    ran = ppapi(*command, input=OTHER_LINK)
    assert ran.code == 2
    assert f"{by_hand}:{text.count(chr(10))}: " in ran.err
    assert by_hand.read_text() == text
    assert_silent(ran)


@pytest.mark.parametrize("command", [["add"], ["remove", "one", "--yes"], ["list"]], ids=str)
def test_without_a_file_init_is_named(command: list[str]) -> None:
    """It writes one."""
    ran = ppapi(*command, input=OTHER_LINK)
    assert ran.code == 2
    assert "ppapi init" in ran.err
    assert_silent(ran)


def test_a_link_to_the_file_stays_one(by_hand: Path, tmp_path: Path) -> None:
    """What it leads to is changed: people keep such files together."""
    elsewhere = tmp_path / "dotfiles.toml"
    shutil.move(by_hand, elsewhere)
    by_hand.symlink_to(elsewhere)
    assert ppapi("remove", "one.example", "--yes").code == 0
    assert by_hand.is_symlink()
    assert names(elsewhere) == ["two.example", "three.example"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no such pipes")
def test_a_pipe_can_be_listed_but_not_changed(by_hand: Path, tmp_path: Path) -> None:
    """`--accounts <(…)` has nothing to put a change into."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(by_hand.read_text(),))
    writer.start()
    ran = ppapi("remove", "one.example", "--yes", "--accounts", str(pipe))
    writer.join()
    assert ran.code == 1
    assert "is a pipe" in ran.err


# --- remove


def test_remove_takes_an_account_and_its_comment(by_hand: Path) -> None:
    """All else stays as it was."""
    ran = ppapi("remove", "two.example", "--yes")
    assert (ran.code, ran.out) == (0, f"removed two.example from {by_hand}\n")
    assert "copy keeps" in ran.err
    text = WRITTEN_BY_HAND.format(key=KEY)
    start, stop = text.index("# the second"), text.index('[[accounts]]\nurl = "https://three')
    assert by_hand.read_text() == text[:start] + text[stop:]


def test_remove_takes_several_and_leaves_what_is_about_nobody(by_hand: Path) -> None:
    """The comment that stands by itself stays, and so does that at the top."""
    assert ppapi("remove", "three.example", "one.example", "--yes").code == 0
    text = by_hand.read_text()
    assert text.startswith("# all of them\n# (mine)\n")
    assert "# not about anybody\n" in text
    assert names(by_hand) == ["two.example"]
    assert KEY not in text


def test_a_comment_between_fields_goes_with_them(file: Path) -> None:
    """One behind them, and one at the top of the file, stay."""
    file.parent.mkdir(parents=True)
    rows = [
        f'# top\n[[accounts]]\nurl = "https://{name}.example"\n# of {name}\n'
        'key_env = "A"\n# behind\n'
        for name in ("a", "b")
    ]
    file.write_text("\n".join(rows))
    assert ppapi("remove", "a.example", "--yes").code == 0
    assert file.read_text().startswith("# top\n# behind\n# top\n[[accounts]]\n")
    assert "# of a" not in file.read_text()


@pytest.mark.parametrize("answer", ["y", "n", ""])
def test_remove_asks_on_a_terminal(by_hand: Path, answer: str) -> None:
    """Only a yes removes."""
    with Terminal("remove", "one.example") as terminal:
        terminal.wait_for("[y/N]")
        terminal.type(f"{answer}\n")
        assert terminal.end() == (0 if answer == "y" else 1)
    assert ("one.example" in names(by_hand)) == (answer != "y")


@pytest.mark.parametrize("answer", ["y", "n"])
def test_remove_does_what_was_answered(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    """And says so."""
    monkeypatch.setattr(remove, "may_ask", lambda: True)
    ran = ppapi("remove", "one.example", input=answer)
    assert ran.code == (0 if answer == "y" else 1)
    assert ("removed one.example" in ran.out) == (answer == "y")
    assert ("nothing was removed" in ran.err) == (answer != "y")


def test_a_file_in_a_way_of_its_own_is_not_changed(
    by_hand: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a change would alter besides, it is not made."""
    monkeypatch.setattr(edit_accounts, "_without", lambda text, _: text.replace("Moscow", "Kyiv"))
    ran = ppapi("remove", "one.example", "--yes")
    assert ran.code == 1
    assert "by hand" in ran.err
    assert by_hand.read_text() == WRITTEN_BY_HAND.format(key=KEY)


def test_a_file_that_goes_meanwhile_is_told(by_hand: Path) -> None:
    """Between looking and changing."""
    by_hand.unlink()
    with pytest.raises(CommandFailed, match="ppapi init"):
        edit_accounts.remove(by_hand, ["one.example"])


def test_what_would_be_wrong_is_not_written(by_hand: Path) -> None:
    """The file is read as it would be, before it takes the place of the old one."""
    before = by_hand.read_text()
    account = Account("https://one.example", OTHER_KEY)
    new = edit_accounts.NewAccount(account, "api_key", Secret(OTHER_KEY), has_zone=False)
    with pytest.raises(CommandFailed, match=r"that of accounts\[0\], too"):
        edit_accounts.append(by_hand, [new])
    assert by_hand.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["one.example"], "--yes"),
        (["one.exmple", "--yes"], "did you mean 'one.example'?"),
        (["one.example", "two.example", "three.example", "--yes"], "at least"),
    ],
    ids=["unasked", "unknown", "all"],
)
def test_remove_refuses(by_hand: Path, arguments: list[str], says: str) -> None:
    """What nobody confirmed, what is not there, and the last of all."""
    ran = ppapi("remove", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert by_hand.read_text() == WRITTEN_BY_HAND.format(key=KEY)


def test_what_was_removed_meanwhile_is_told(by_hand: Path) -> None:
    """Nothing else is removed then."""
    with pytest.raises(CommandFailed, match="somebody else"):
        edit_accounts.remove(by_hand, ["four.example", "one.example"])
    assert by_hand.read_text() == WRITTEN_BY_HAND.format(key=KEY)


# --- list


def test_list_shows_where_keys_are_but_fetches_none(by_hand: Path, tmp_path: Path) -> None:
    """No program is run, no variable is needed; a key in place of a name is not shown."""
    ran_program = tmp_path / "ran"
    by_hand.write_text(
        by_hand.read_text()
        + f'[[accounts]]\nurl = "https://run.example"\nkey_command = ["touch", "{ran_program}"]\n'
        + f'[[accounts]]\nurl = "https://a.example"\nkey_env = "{OTHER_KEY}"\n'
        + f'[[accounts]]\nurl = "https://b.example"\nkey_file = "{OTHER_KEY}"\n'
        + f'[[accounts]]\nurl = "https://c.example"\nkey_command = "{OTHER_KEY}"\n'
        + '[[accounts]]\nurl = "https://d.example"\nkey_file = "accounts.toml"\n'
        + f'[[accounts]]\nlink = "{OTHER_LINK.replace("two", "e")}"\ndialect = "classic"\n'
    )
    ran = ppapi("list", "--json", "name,key,source")
    assert ran.code == 0, ran.err
    assert [tuple(one.values()) for one in json.loads(ran.out)] == [
        ("one.example", "the accounts file", "api_key"),
        ("two.example", "command pass", "key_command"),
        ("three.example", "variable KEY_THREE", "key_env"),
        ("run.example", "command touch", "key_command"),
        ("a.example", "a variable that is not set", "key_env"),
        ("b.example", "a file that is not there", "key_file"),
        ("c.example", "a command that is not there", "key_command"),
        ("d.example", "file accounts.toml", "key_file"),
        ("e.example", "the accounts file", "link"),
    ]
    assert not ran_program.exists()
    assert_silent(ran, ppapi("list"))


def test_list_in_a_pipe(by_hand: Path) -> None:
    """A line for each account, with tabs between."""
    ran = ppapi("list")
    assert ran.out.splitlines()[:2] == [
        "name\thost\tdialect\ttimezone\tkey\turl\tsource",
        "one.example\tone.example\t\tEurope/Moscow\tthe accounts file\thttps://one.example\tapi_key",
    ]
