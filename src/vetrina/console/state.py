"""What every command is handed: the options before it, and how it prints."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import click

FILE = click.Path(path_type=Path, dir_okay=False)


class State:
    """The options before the command."""

    def __init__(self, folder: Path, as_json: bool, debug: bool) -> None:
        self.folder, self.as_json, self.debug = folder, as_json, debug

    def shop(self) -> Any:
        """The shop, with bars on a terminal."""
        from vetrina.console.bars import Bars
        from vetrina.pipeline.shop import Shop

        return Shop(self.folder, Bars())

    def show(self, rows: Any, line: Callable[[Any], str]) -> None:
        """JSON for machines, a line a row for people."""
        listed = rows if isinstance(rows, list) else [rows]
        if self.as_json:
            click.echo(json.dumps(rows, default=plain, ensure_ascii=False))
        else:
            for row in listed:
                click.echo(line(row))


def plain(value: Any) -> Any:
    """What JSON cannot say by itself, as something that it can."""
    import numpy as np

    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Iterable):
        return list(value)
    return str(value)
