"""Options that several commands share, and types of option values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vetrina.core.errors import BadInput

_MINUTES_PER_UNIT = {"s": 1 / 60, "m": 1.0, "h": 60.0}
_MAX_MINUTES = 100_000  # about ten weeks

FILE_PATH = click.Path(path_type=Path, dir_okay=False)

limit_option = click.option(
    "--limit", type=click.IntRange(1, 200), default=10, show_default=True, help="Number of products in a list."
)
output_file_option = click.option("--out", type=FILE_PATH, help="Output file of a batch (CSV, Parquet, JSON lines).")
host_option = click.option("--host", help="Address to listen on (default: loopback).")
port_option = click.option(
    "--port", type=click.IntRange(0, 65535), help="Port to listen on (default: 8337; 0 chooses a free one)."
)


class DurationMinutes(click.ParamType):
    """A duration such as 90s, 10m or 2h, converted to minutes."""

    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return minutes.

        Args:
            value: what was written, or minutes.
            param: the option that it was written for.
            ctx: the command that it was written for.

        Raises:
            click.BadParameter: the text is no duration, or not between 0 and 100,000 minutes.
        """
        minutes = _parse_minutes(value) if isinstance(value, str) else float(value)
        if not 0 < minutes < _MAX_MINUTES:
            self.fail(f"{value!r} is no duration; write it like 90s, 10m or 2h", param, ctx)
        return minutes


def _parse_minutes(text: str) -> float:
    """Minutes of a duration, or 0 where the text is none."""
    minutes_per_unit = _MINUTES_PER_UNIT.get(text[-1:])
    if minutes_per_unit is None:
        return 0.0
    try:
        return float(text[:-1]) * minutes_per_unit
    except ValueError:
        return 0.0


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
