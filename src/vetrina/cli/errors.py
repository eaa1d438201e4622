"""Whatever goes wrong, as one line for a person and an exit status."""

import click

from vetrina.core.errors import VetrinaError


def error_line_and_status(error: BaseException) -> tuple[str, int]:
    """What to say and the exit status."""
    text = " ".join(str(error).split())[:300]
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        return "stopped; what was finished is kept, the same command goes on from there", 130
    if isinstance(error, click.ClickException):
        return f"vetrina: {error.format_message()}; --help shows what is possible", error.exit_code
    if isinstance(error, VetrinaError):
        return f"vetrina: {error}", error.exit_status
    if isinstance(error, OSError):
        named = error.filename or "disk"
        return f"vetrina: {named}: {error.strerror or text}; free space or rights there, then repeat", 2
    if type(error).__name__ == "OperationalError":  # the store's own words, whichever database it is
        said = text.split(" [SQL")[0].split(" (Background")[0]
        return f"vetrina: store: {said}; free space, or see that it can be reached, then repeat", 2
    return f"vetrina: a fault in Vetrina ({type(error).__name__}: {text}); repeat with --debug and report it", 1
