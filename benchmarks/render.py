"""docs/benchmarks.md and the six results of README.md, rendered from benchmarks/results; ``python -m benchmarks.render``.

A test renders them anew and compares, so that no figure stands in a text that does not stand in a result's file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import Result, Table, read_all

_ROOT = Path(__file__).parents[1]
PAGE = _ROOT / "docs/benchmarks.md"
README = _ROOT / "README.md"
BEGIN = "<!-- six results: written by `python -m benchmarks.render` -->"
END = "<!-- end of the six results -->"

_GROUPS: Mapping[str, Sequence[str]] = {
    "Recommend": (
        "next_purchase",
        "visits",
        "sequences",
        "sequences-amazon-beauty-5core",
        "sequences-amazon-sports-5core",
        "check_ins",
        "fusion",
        "warm_start",
    ),
    "Search": ("product_search", "attacks", "personal_search"),
    "Predict": ("tables", "tuned_tables", "campaigns", "pictures", "transfer"),
    "Launch audiences and ads": ("launches", "pacing"),
    "Compression": ("students", "small_networks"),
    "Gate, release and monitoring": (
        "releases",
        "canary",
        "screen",
        "off_policy",
        "drift",
        "paid_clicks",
        "adversarial",
    ),
    "The path and the service": (
        "first_answers",
        "demo",
        "ingest",
        "service",
        "serving_cost",
        "overload",
        "store",
        "kills",
        "availability",
        "swaps",
    ),
}

_INTRODUCTION = """# Benchmarks

What Vetrina measures of itself, each figure beside a reference of the same run unless marked "published" or "measured elsewhere".
Brackets hold 95 % intervals. A goal is what the project set itself before it measured; some were missed.

`make bench` runs all of them and skips, by name, those whose data is not there: `VETRINA_BENCH_DATA` names the folder that
holds the real data sets. The data of Complete Journey comes with the demo. Each benchmark writes `benchmarks/results/NAME.json`,
and `python -m benchmarks.render` makes this page of those files: do not edit it.

Each result names the commit it was measured on. Those marked "transcribed" were measured before benchmarks wrote files: their
commit and date are those at which most of their figures were written into the README of the time.
"""


@dataclass(frozen=True)
class Cell:
    """A cell of a result's table, by the beginning of its row's first cell."""

    row: str
    column: str
    label: str = ""  # written before the cell's text


@dataclass(frozen=True)
class Headline:
    """One of the six results that README.md shows."""

    what: str
    result: str
    figure: Cell
    reference: Cell


HEADLINES = (
    Headline(
        "**Recommend**: next purchase, a grocer's year, 1,732 households",
        "next_purchase",
        Cell("blend", "NDCG@10", "NDCG@10, float / int8: "),
        Cell("personal frequency", "NDCG@10", "what the household buys most, decayed: "),
    ),
    Headline(
        "**Search**: electronics, 81 judged queries",
        "product_search",
        Cell("six signals", "full retrieval", "NDCG@10 "),
        Cell("BM25", "full retrieval", "BM25 "),
    ),
    Headline(
        "**Predict**: clothing reviews, text and table",
        "tables",
        Cell("reviews, `recommended_ind`", "figure", "AUC "),
        Cell("reviews, `recommended_ind`", "goal or reference"),
    ),
    Headline(
        "**Launch**: who buys a new product, first 1 % of households",
        "launches",
        Cell("1 %", "trees on earlier launches", "lift "),
        Cell("1 %", "category affinity", "category affinity "),
    ),
    Headline(
        "**Ads**: value of a budget under a traffic shock, best in hindsight is 1",
        "pacing",
        Cell("a generated day", "the dual solved anew"),
        Cell("a generated day", "beside it"),
    ),
    Headline(
        "**Release**: candidates worse by the margin that are promoted",
        "canary",
        Cell("clicks worse", "promoted"),
        Cell("*a z-test", "promoted", "hourly z-test, equal / worse: "),
    ),
)


def page(results: Mapping[str, Result]) -> str:
    """The whole of docs/benchmarks.md. Results that no group names come last."""
    named = [name for names in _GROUPS.values() for name in names]
    groups = {**_GROUPS, "Others": sorted(set(results) - set(named))}
    parts = [_INTRODUCTION]
    for group, names in groups.items():
        present = [name for name in names if name in results]
        if present:
            parts.append(f"## {group}\n")
        parts.extend("\n".join(_section(name, results[name])) for name in present)
    return "\n".join(parts)


def _section(name: str, result: Result) -> Iterator[str]:
    yield f'<a id="{name}"></a>'
    yield ""
    yield f"### {result.title}"
    yield ""
    if result.protocol:
        yield result.protocol
        yield ""
    yield f"`{result.command}` · {result.date} · commit {result.commit} · {result.machine}" + _marked(result)
    yield ""
    for table in result.tables:
        yield from _table(table)
    for text in result.notes:
        yield text
        yield ""


def _marked(result: Result) -> str:
    return " · transcribed" if result.transcribed else ""


def _table(table: Table) -> Iterator[str]:
    if table.title:
        yield f"**{table.title}**"
        yield ""
    yield _line(table.columns)
    yield "|" + "---|" * len(table.columns)
    yield from map(_line, table.rows)
    yield ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def six_results(results: Mapping[str, Result]) -> str:
    """The lines of README.md between the two markers. Raises LookupError where a result lacks a row that it shows."""
    lines = ["| what | Vetrina | reference |", "|---|---|---|"]
    for headline in HEADLINES:
        figure = _text(results, headline.result, headline.figure)
        reference = _text(results, headline.result, headline.reference)
        lines.append(_line([f"[{headline.what}](docs/benchmarks.md#{headline.result})", figure, reference]))
    return "\n".join(lines)


def _text(results: Mapping[str, Result], name: str, cell: Cell) -> str:
    for table in results[name].tables:
        for row in table.rows:
            if row[0].startswith(cell.row) and cell.column in table.columns:
                return cell.label + row[table.columns.index(cell.column)]
    raise LookupError(f"{name}: has no row {cell.row!r} with a column {cell.column!r}; change HEADLINES in {__file__}")


def with_six_results(readme: str, results: Mapping[str, Result]) -> str:
    """README.md with the present results between its two markers."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{six_results(results)}\n\n{END}{after}"


def main() -> None:
    """Writes both."""
    results = read_all()
    PAGE.write_text(page(results))
    README.write_text(with_six_results(README.read_text(), results))


if __name__ == "__main__":
    main()
