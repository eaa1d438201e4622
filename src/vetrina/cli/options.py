"""Options that several commands share, and types of option values. Those of commands of scenarios are in `scenarios.commands`."""

import click

_MINUTES_PER_UNIT = {"s": 1 / 60, "m": 1.0, "h": 60.0}
_MAX_MINUTES = 100_000  # about ten weeks

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
