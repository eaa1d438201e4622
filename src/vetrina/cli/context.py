"""What every command is handed: the options before it, and how it prints."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vetrina.pipeline.api import Shop

FILE_PATH = click.Path(path_type=Path, dir_okay=False)


class CliContext:
    """The options before the command."""

    def __init__(self, folder: Path, as_json: bool, debug: bool) -> None:
        self.folder = folder
        self.as_json = as_json
        self.debug = debug

    def open_shop(self) -> "Shop":
        """The shop, with bars on a terminal."""
        from vetrina.cli.progress import TerminalProgress
        from vetrina.pipeline.api import Shop

        return Shop(self.folder, TerminalProgress())

    def print_rows(self, rows: Any, format_row: Callable[[Any], str]) -> None:
        """JSON for machines, a line a row for people."""
        listed = rows if isinstance(rows, list) else [rows]
        if self.as_json:
            click.echo(json.dumps(rows, default=to_json_value, ensure_ascii=False))
        else:
            for row in listed:
                click.echo(format_row(row))


def to_json_value(value: Any) -> Any:
    """What JSON cannot say by itself, as something that it can."""
    import numpy as np

    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
