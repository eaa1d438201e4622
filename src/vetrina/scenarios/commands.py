"""Commands of scenarios on the command line: what they share, and how they are found.

``scenarios/NAME/command.py`` holds the commands of a scenario, as ``COMMANDS``. It stands beside the scenario's object, not in
it: a command that asks the running service costs little more than the start of Python, so that nothing here loads numpy or the
store. How an answer is computed and printed is the part of ``CommandContext``.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from vetrina import scenarios
from vetrina.core.errors import BadInput

Value = TypeVar("Value")
Row = Mapping[str, Any]

FILE_PATH = click.Path(path_type=Path, dir_okay=False)
limit_option = click.option(
    "--limit", type=click.IntRange(1, 200), default=10, show_default=True, help="Number of products in a list."
)
engine_option = click.option(
    "--engine", type=click.Choice(("local", "ray")), help="Where it is computed (default: [train] engine)."
)
output_file_option = click.option("--out", type=FILE_PATH, help="Output file of a batch (CSV, Parquet, JSON lines).")


@dataclass(frozen=True)
class ScenarioCommands:
    """The commands of a scenario, and their position in the help among those of other scenarios."""

    position: int
    commands: tuple[click.Command, ...]


@dataclass(frozen=True)
class FileOfRequests:
    """How the rows of a file become requests for ranked products.

    Attributes:
        name: What the progress bar calls it.
        key: Column of the output that names the request.
        columns: Columns that the file needs.
        parameters: Parameters of the request of a row, by their names in the Python API.
    """

    name: str
    key: str
    columns: tuple[str, ...]
    parameters: Callable[[Row], dict[str, Any]]


class CommandContext(Protocol):
    """What a command receives. Each method prints what it returns to the person who asks."""

    def rank(self, scenario: str, **parameters: Any) -> None:
        """The items of one ranked answer.

        Args:
            scenario: The scenario that answers.
            parameters: Fields of the request, with the shop's own ids.
        """
        ...

    def rank_file(
        self,
        scenario: str,
        requests: FileOfRequests,
        file: Path,
        out: Path | None,
        engine: str | None = None,
        **parameters: Any,
    ) -> None:
        """How many rows were written: the ranked answers to a file of requests.

        Args:
            scenario: The scenario that answers.
            requests: How a row becomes a request.
            file: File of requests.
            out: Output file.
            engine: ``local`` or ``ray``; None for that of the settings.
            parameters: Further parameters of every request.
        """
        ...

    def select_audience(
        self,
        scenario: str,
        product_id: str | None,
        *,
        size: int,
        seed_users: Path | None,
        segment: str,
        channel: str,
        mark_contacted: bool,
        out: str | None,
    ) -> None:
        """The users of one audience, or where they were delivered.

        Args:
            scenario: The scenario that answers.
            product_id: Product that the audience is for.
            size: Number of users.
            seed_users: File of users that the audience is to be similar to.
            segment: Segment that it is taken from; empty for none.
            channel: Channel that it is meant for.
            mark_contacted: Whether the users are recorded as contacted.
            out: Output file or address of a webhook; None to print the users.
        """
        ...

    def select_audiences(self, scenario: str, products: Path, out: str | None, size: int) -> None:
        """How many rows were written: one audience for each product of a file.

        Args:
            scenario: The scenario that answers.
            products: File of products.
            out: Output file.
            size: Users of each audience.
        """
        ...

    def predict(self, scenario: str, features: str | None) -> None:
        """The prediction for a row, given as JSON."""
        ...

    def predict_file(self, scenario: str, table: Path, out: Path | None) -> None:
        """How many rows were written: one prediction for each row of a file.

        Args:
            scenario: The scenario that answers.
            table: File of rows.
            out: Output file.
        """
        ...


def require_value(value: Value | None, name: str) -> Value:
    """The value. Raises click.UsageError, which names the argument, where there is none."""
    if value is None:
        raise click.UsageError(f"give {name}")
    return value


def user_of(row: Row) -> str | None:
    """The user of a row, None for an anonymous visitor."""
    user_id = row.get("user_id")
    if user_id is None:
        return None
    return str(user_id)


def renamed_option(old: str, new: str) -> Callable[[Any], Any]:
    """Decorator of a command that refuses the old spelling of an option and names the new one.

    It is checked before all other options and arguments. The old spelling may stand with a value or without one.
    """

    def refuse(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
        if value is not None:
            raise BadInput(old, "was renamed", f"use {new}")

    return click.option(
        old,
        "renamed_" + old.strip("-").replace("-", "_"),
        is_flag=False,
        flag_value="",
        is_eager=True,
        hidden=True,
        expose_value=False,
        callback=refuse,
    )


def find_commands() -> list[click.Command]:
    """The commands of all scenarios, in the order of the help."""
    found: list[ScenarioCommands] = []
    for module in pkgutil.iter_modules(scenarios.__path__):
        name = f"{scenarios.__name__}.{module.name}.command"
        if module.ispkg and importlib.util.find_spec(name) is not None:
            found.append(importlib.import_module(name).COMMANDS)
    commands: list[click.Command] = []
    for of_scenario in sorted(found, key=lambda each: each.position):
        commands += of_scenario.commands
    return commands
