"""The ``vetrina`` command: options before the command, help grouped by task, and the exit status of errors.

The commands themselves lie in one file for each group.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from vetrina.cli import ask, backup, data, deploy, operate, release, start, train, upgrade
from vetrina.cli.ask import AskContext
from vetrina.cli.errors import error_line_and_status
from vetrina.core.version import VERSION

_OTHERS = 0o077  # rights of group and others
_EXIT_STATUS_BROKEN_PIPE = 141  # as a shell reports a process that SIGPIPE ended


class GroupedCommands(click.Group):
    """Commands whose help stands under the title of their task, in the order in which they were added."""

    def __init__(self, *args, **attributes) -> None:
        super().__init__(*args, **attributes)
        self.command_groups: dict[str, list[str]] = {}

    def add_command_group(self, title: str, commands: Sequence[click.Command]) -> None:
        """Add commands under a title.

        Raises:
            ValueError: a command stands in a group already.
        """
        names = []
        for command in commands:
            if command.name is None or command.name in self.commands:
                raise ValueError(f"command {command.name!r} has no name or stands in a group already")
            self.add_command(command)
            names.append(command.name)
        self.command_groups[title] = names

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands, group by group."""
        names = []
        for group in self.command_groups.values():
            names.extend(group)
        return names

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one section for each group; descriptions begin in the same column in all of them."""
        name_width = max(len(name) for name in self.list_commands(ctx))
        text_width = formatter.width - name_width - 6  # the indent before a name and the gap behind it
        for title, names in self.command_groups.items():
            rows = []
            for name in names:
                description = self.commands[name].get_short_help_str(text_width)
                rows.append((name.ljust(name_width), description))
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(cls=GroupedCommands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="vetrina")
@click.option(
    "--shop-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="VETRINA_SHOP",
    default=".",
    help="Folder of the shop (default: VETRINA_SHOP, else the current folder).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
# Read from the arguments by ``main``, which has no parsed options where parsing them fails.
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
@click.pass_context
def cli(context: click.Context, shop_dir: Path, as_json: bool) -> None:
    """Search, recommendation, ads and prediction from a shop's own data.

    \b
    Start with `vetrina demo`, or with your own files:
      vetrina init my-shop && cd my-shop
      vetrina ingest --products products.csv --events events.csv
      vetrina run
      vetrina serve

    Shell completion: eval "$(_VETRINA_COMPLETE=bash_source vetrina)" (or zsh_source, fish_source).
    """
    context.obj = AskContext(shop_dir, as_json)


cli.add_command_group("Start", start.COMMANDS)
cli.add_command_group("Data", data.COMMANDS)
cli.add_command_group("Ask", ask.COMMANDS)
cli.add_command_group("Train", train.COMMANDS)
cli.add_command_group("Release", release.COMMANDS)
cli.add_command_group("Operate", (*operate.COMMANDS, *backup.COMMANDS, *upgrade.COMMANDS))
cli.add_command_group("Deploy", deploy.COMMANDS)


def main() -> None:
    """Run a command, and end the process with one line and an exit status where it fails."""
    os.umask(_OTHERS)  # whatever a command writes is its user's alone
    try:
        cli.main(standalone_mode=False)
    except BrokenPipeError:
        # Python flushes standard output once more as it exits; it must not fail again there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_EXIT_STATUS_BROKEN_PIPE)
    except BaseException as error:  # the outer edge: whatever it is becomes one line
        if isinstance(error, SystemExit) or "--debug" in sys.argv:
            raise
        line, status = error_line_and_status(error)
        click.echo(line, err=True)
        sys.exit(status)
