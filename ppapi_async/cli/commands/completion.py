"""The command `completion`: what makes a shell complete commands and options."""

from __future__ import annotations

import click

from ppapi_async.cli.output import say

__all__ = ["command"]

_SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(_SHELLS))
def command(*, shell: str) -> None:
    """Print what makes a shell complete commands.

    \b
    Examples:
      ppapi completion bash >> ~/.bashrc
      ppapi completion zsh >> ~/.zshrc
      ppapi completion fish > ~/.config/fish/completions/ppapi.fish
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from ppapi_async.cli.group import ppapi

    kinds = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    say(kinds[shell](ppapi, {}, "ppapi", "_PPAPI_COMPLETE").source())
