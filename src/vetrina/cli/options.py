"""What people may write as an option's value."""

import click


class DurationMinutes(click.ParamType):
    """A time such as 90s, 10m or 2h, as minutes."""

    name = "time"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raises a usage error that says how a time is written."""
        unit = {"s": 1 / 60, "m": 1.0, "h": 60.0}
        try:
            minutes = float(value[:-1]) * unit[value[-1:]] if isinstance(value, str) else float(value)
        except (KeyError, ValueError):
            minutes = 0.0
        if not 0 < minutes < 100_000:
            self.fail(f"{value!r} is no time; write it like 90s, 10m or 2h", param, ctx)
        return minutes
