"""What each command receives: the options before the command, the opened shop, and how rows are printed."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vetrina.api.shop import Shop

Row = TypeVar("Row")


class CliContext:
    """The options before the command.

    Args:
        shop_dir: the shop's folder.
        as_json: whether rows are printed as JSON.
    """

    def __init__(self, shop_dir: Path, as_json: bool) -> None:
        self.shop_dir = shop_dir
        self.as_json = as_json

    def open_shop(self) -> "Shop":
        """The shop, which reports progress on the terminal."""
        from vetrina.api.shop import Shop
        from vetrina.cli.progress import TerminalProgress

        return Shop(self.shop_dir, TerminalProgress())

    def shop_dir_or(self, default: str) -> Path:
        """The absolute folder of the shop, or a default one where none was named."""
        if self.shop_dir == Path("."):
            return Path(default).resolve()
        return self.shop_dir.resolve()

    def print_row(self, row: Row, format_row: Callable[[Row], str]) -> None:
        """Print one row: an object as JSON, or a line."""
        if self.as_json:
            self._print_json(row)
        else:
            click.echo(format_row(row))

    def print_rows(self, rows: Sequence[Row], format_row: Callable[[Row], str]) -> None:
        """Print rows: a list as JSON, or a line for each."""
        if self.as_json:
            self._print_json(rows)
            return
        for row in rows:
            click.echo(format_row(row))

    def _print_json(self, value: object) -> None:
        click.echo(json.dumps(value, default=to_json_value, ensure_ascii=False))


def to_json_value(value: Any) -> Any:
    """A value that JSON can hold in place of one that it cannot: a dataclass, a NumPy number, an iterable or any other."""
    import numpy as np

    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
