"""Rougher evidence: the same questions as people really type them, the same rows with holes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.tables import Table
from vetrina.core.types import Evidence, Judgments

_HOLES = 0.1


@dataclass(frozen=True)
class Rough:
    """Evidence that was made rougher, and how, for a merchandiser."""

    code: str
    how: str
    evidence: Evidence


def rougher(evidence: Evidence, seed: int = 42) -> Iterator[Rough]:
    """What of the evidence can be made rougher without changing its right answers."""
    rng = np.random.default_rng(seed)
    if evidence.judgments is not None:
        yield Rough(
            "misspelt", "with a slip in every query", replace(evidence, judgments=_misspelt(evidence.judgments, rng))
        )
    if evidence.table is not None:
        yield Rough(
            "holes", f"with {_HOLES:.0%} of the cells missing", replace(evidence, table=_holed(evidence.table, rng))
        )


def slip(query: str, rng: np.random.Generator) -> str:
    """One slip of the finger inside the longest word: two letters swapped, one lost or one doubled; short words stay."""
    words = query.split()
    if not words:
        return query
    at = max(range(len(words)), key=lambda n: len(words[n]))
    word = words[at]
    if len(word) < 4:
        return query
    place = int(rng.integers(1, len(word) - 1))
    kind = int(rng.integers(0, 3))
    if kind == 0:
        words[at] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    elif kind == 1:
        words[at] = word[:place] + word[place + 1 :]
    else:
        words[at] = word[:place] + word[place] + word[place:]
    return " ".join(words)


def _misspelt(judgments: Judgments, rng: np.random.Generator) -> Judgments:
    # Each query becomes one other; two that become the same stay apart, for units must stay the same.
    taken, said = set(), {}
    for query in dict.fromkeys(judgments.query):
        rough = slip(query, rng)
        said[query] = query if rough in taken or rough in judgments.query else rough
        taken.add(said[query])
    return replace(judgments, query=tuple(said[q] for q in judgments.query))


def _holed(table: Table, rng: np.random.Generator) -> Table:
    columns = {}
    for name, values in table.columns.items():
        columns[name] = values.copy()
        columns[name][rng.random(len(values)) < _HOLES] = np.nan if values.dtype.kind == "f" else None
    return Table(columns, table.label)
