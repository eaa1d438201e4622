"""Error messages and exit statuses of the command line."""

import click

from vetrina.core.errors import VetrinaError

_MAX_MESSAGE_LENGTH = 300  # characters
_STATUS_INTERNAL_ERROR = 1
_STATUS_BAD_INPUT = 2
_STATUS_TEMPORARY_FAILURE = 75  # EX_TEMPFAIL of sysexits.h: the same command may succeed later
_STATUS_INTERRUPTED = 130
_FULL_INSTALLATION = 'pip install "vetrina[all]", or use the image vetrina-train'


def error_line_and_status(error: BaseException) -> tuple[str, int]:
    """One line that describes an error and what to do about it, and the exit status of the process."""
    message = " ".join(str(error).split())[:_MAX_MESSAGE_LENGTH]
    if isinstance(error, KeyboardInterrupt | click.exceptions.Abort):
        line = "stopped; finished steps are kept, and the same command continues from there"
        return line, _STATUS_INTERRUPTED
    if isinstance(error, click.ClickException):
        return f"vetrina: {error.format_message().rstrip('.')}; see --help", error.exit_code
    if isinstance(error, VetrinaError):
        return f"vetrina: {error}", error.exit_status
    if isinstance(error, ModuleNotFoundError) and error.name is not None and not error.name.startswith("vetrina"):
        line = f"vetrina: this command needs {error.name}, which is not installed here; {_FULL_INSTALLATION}"
        return line, _STATUS_BAD_INPUT
    if isinstance(error, OSError):
        place = error.filename or "disk"
        reason = error.strerror or message
        return f"vetrina: {place}: {reason}; check free space and permissions there, then repeat", _STATUS_BAD_INPUT
    if type(error).__name__ == "OperationalError":  # of SQLAlchemy, which is not imported for it
        reason = message.split(" [SQL")[0].split(" (Background")[0]
        line = f"vetrina: store: {reason}; check free space and that the database can be reached, then repeat"
        return line, _STATUS_TEMPORARY_FAILURE
    line = f"vetrina: internal error ({type(error).__name__}: {message}); repeat with --debug and report it"
    return line, _STATUS_INTERNAL_ERROR
