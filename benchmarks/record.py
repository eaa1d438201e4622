"""Results of benchmarks as files: one JSON file a benchmark, with what a reader needs to judge its figures.

``benchmarks.render`` makes docs/benchmarks.md of these files. Nothing here knows what is measured.
"""

import os
import platform
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

RESULTS = Path(__file__).parent / "results"
_ROOT = Path(__file__).parents[1]
_BYTES_PER_GIB = 2**30


class Table(msgspec.Struct):
    """Rows of equally many cells, as text."""

    columns: tuple[str, ...] = ("what", "figure", "goal or reference")
    title: str = ""
    rows: list[tuple[str, ...]] = msgspec.field(default_factory=list)


class Result(msgspec.Struct):
    """What one benchmark measured. ``transcribed`` says where figures come from that no run wrote into the file."""

    title: str
    command: str
    protocol: str
    commit: str
    date: str
    machine: str
    transcribed: str = ""
    tables: list[Table] = msgspec.field(default_factory=list)
    notes: list[str] = msgspec.field(default_factory=list)


_recording: list[Result] = []  # the result that is being recorded, if any


def row(what: str, figure: str, reference: str = "") -> None:
    """Prints one line of a table and records it."""
    print(f"| {what:<44} | {figure:<34} | {reference}", flush=True)
    if _recording:
        tables = _recording[0].tables
        if not tables:
            tables.append(Table())
        tables[-1].rows.append((what.strip(), figure, reference))


def heading(title: str) -> None:
    """Prints the title of the rows that follow and starts a table of their own."""
    print(title, flush=True)
    if _recording:
        _recording[0].tables.append(Table(title=title))


def note(text: str) -> None:
    """Prints what belongs to the figures but is no row, and records it."""
    print(text, flush=True)
    if _recording:
        _recording[0].notes.append(text)


def record(benchmark: str, description: str | None, measure: Callable[[], None], arguments: Sequence[str] = ()) -> None:
    """Runs a benchmark and, once it is through, writes benchmarks/results/NAME.json.

    A run that fails or lacks its data writes nothing. NAME is the benchmark's name and, where data sets were named on the
    command line, theirs; numbers there (how many users are taken) are part of the command alone.

    Args:
        benchmark: name of a module of this package.
        description: the module's docstring; its first line is the title, the rest the protocol.
        measure: prints what it measures with ``row``, ``heading`` and ``note``.
        arguments: words of the command line behind the module's name.
    """
    title, _, protocol = (description or benchmark).partition("\n")
    command = ["python -m benchmarks", benchmark]
    if arguments:
        command = [f"python -m benchmarks.{benchmark}", *arguments]
    result = Result(
        title=title.rstrip("."),
        command=" ".join(command),
        protocol=" ".join(protocol.split()),
        commit=_commit(),
        date=datetime.now(UTC).date().isoformat(),
        machine=_machine(),
    )
    _recording[:] = [result]
    try:
        measure()
    finally:
        _recording.clear()
    result.tables = [table for table in result.tables if table.rows]
    if result.tables:
        data_sets = [word for word in arguments if not word.isdecimal()]
        write("-".join([benchmark, *data_sets]), result)


def write(name: str, result: Result) -> None:
    """Writes a result in place of the one of that name."""
    RESULTS.mkdir(exist_ok=True)
    temporary = RESULTS / f"{name}.json.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    temporary.replace(RESULTS / f"{name}.json")


def read_all(folder: Path = RESULTS) -> dict[str, Result]:
    """Every result by its name. Raises msgspec.ValidationError for a file that lacks one of the fields."""
    paths = sorted(folder.glob("*.json"))
    return {path.stem: msgspec.json.decode(path.read_bytes(), type=Result) for path in paths}


def _commit() -> str:
    """The commit that is checked out; a plus sign stands for changes that are not committed."""
    git = ["git", "-C", str(_ROOT)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode != 0:
        return "unknown"
    changes = subprocess.run([*git, "status", "--porcelain", "src"], capture_output=True, text=True, check=False)
    return head.stdout.strip() + ("+" if changes.stdout.strip() else "")


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _BYTES_PER_GIB
    parts = [
        f"{os.cpu_count()} cores ({platform.processor() or platform.machine()})",
        f"{memory:.0f} GiB",
        f"{platform.system()}, Python {platform.python_version()}",
    ]
    return ", ".join(parts)
