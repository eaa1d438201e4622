"""User-facing errors: the value, the rule that it breaks, and how to fix it."""


class VetrinaError(Exception):
    """Base class of all errors that Vetrina raises on purpose."""

    exit_status = 1


class BadInput(VetrinaError):
    """The input breaks a rule. It is shown as one line; exit status 2 or HTTP 4xx.

    Attributes:
        value: The wrong value, or where it is.
        rule: The rule that it breaks.
        way_out: What the user can do about it.
    """

    exit_status = 2

    def __init__(self, value: str, rule: str, way_out: str) -> None:
        super().__init__(f"{_one_line(value)}: {rule}; {way_out}")
        self.value = value
        self.rule = rule
        self.way_out = way_out

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        """What the error is made from, so that it reaches another process whole."""
        return type(self), (self.value, self.rule, self.way_out)


class Conflict(BadInput):
    """The state was changed between reading and writing; HTTP 409."""


class NotFound(BadInput):
    """The named thing does not exist; HTTP 404."""


class NotReady(BadInput):
    """Nothing is released yet for this scenario; HTTP 503.

    Attributes:
        ready_in_seconds: Estimate of when something will be; None where no run is under way.
    """

    ready_in_seconds: float | None = None


class Overloaded(NotReady):
    """More waits than there is room for; HTTP 503."""


class OtherFormat(NotReady):
    """A bundle in the format of another version of Vetrina; HTTP 503."""


class UnusableVariant(VetrinaError):
    """A compression variant that does not exist for a model; the stage reports it and tries the next one."""


def describe_cause(error: BaseException) -> str:
    """An error for the log, in words: that of a library by its kind only, as its text may hold what users did."""
    if isinstance(error, VetrinaError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{type(error).__name__}: {error.strerror}"
    return type(error).__name__


def _one_line(value: str, limit: int = 120) -> str:
    flat = " ".join(value.split())
    if len(flat) <= limit:
        return flat
    return f"{flat[:limit]}... ({len(flat)} characters)"
