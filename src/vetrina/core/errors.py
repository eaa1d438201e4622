"""Errors that a person can act on: the value, the rule it broke, and the way out."""


class VetrinaError(Exception):
    """Base of everything Vetrina raises on purpose."""

    exit_status = 1


class BadInput(VetrinaError):
    """The input breaks a rule. Shown as one line; exit status 2 or a 4xx."""

    exit_status = 2

    def __init__(self, value: str, rule: str, way_out: str) -> None:
        super().__init__(f"{_one_line(value)}: {rule}; {way_out}")
        self.value = value
        self.rule = rule
        self.way_out = way_out

    def __reduce__(self) -> tuple[type["BadInput"], tuple[str, str, str]]:
        """A journal keeps errors too: without this a copy would miss two of its three parts."""
        return type(self), (self.value, self.rule, self.way_out)


class Conflict(BadInput):
    """The state moved on between reading and writing; HTTP 409."""


class NotFound(BadInput):
    """The named thing does not exist; HTTP 404."""


class NotReady(BadInput):
    """Nothing is released yet for this scenario; HTTP 503."""


class OtherFormat(NotReady):
    """A bundle that this Vetrina cannot read, because another one wrote it; HTTP 503."""


class UnusableVariant(VetrinaError):
    """A model cannot take this form; the stage says so and tries the next."""


def _one_line(value: str, limit: int = 120) -> str:
    flat = " ".join(value.split())
    return flat if len(flat) <= limit else f"{flat[:limit]}... ({len(flat)} characters)"
