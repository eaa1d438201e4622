"""Rougher evidence: the same questions as people really type them, the same rows with holes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import EvaluationData, Judgments

_MISSING_SHARE = 0.1


@dataclass(frozen=True)
class PerturbedData:
    """Evidence that was made rougher, and how, for a merchandiser."""

    code: str
    description: str
    evaluation_data: EvaluationData


def perturb_data(evaluation_data: EvaluationData, seed: int = 42) -> Iterator[PerturbedData]:
    """What of the evidence can be made rougher without changing its right answers."""
    rng = np.random.default_rng(seed)
    if evaluation_data.judgments is not None:
        yield PerturbedData(
            "misspelt",
            "with a slip in every query",
            replace(evaluation_data, judgments=_add_typos(evaluation_data.judgments, rng)),
        )
    if evaluation_data.table is not None:
        yield PerturbedData(
            "holes",
            f"with {_MISSING_SHARE:.0%} of the cells missing",
            replace(evaluation_data, table=_drop_cells(evaluation_data.table, rng)),
        )


def add_typo(query: str, rng: np.random.Generator) -> str:
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


def _add_typos(judgments: Judgments, rng: np.random.Generator) -> Judgments:
    # Each query becomes one other; two that become the same stay apart, for units must stay the same.
    taken = set()
    said = {}
    for query in dict.fromkeys(judgments.query):
        rough = add_typo(query, rng)
        said[query] = query if rough in taken or rough in judgments.query else rough
        taken.add(said[query])
    return replace(judgments, query=tuple(said[q] for q in judgments.query))


def _drop_cells(table: LabelledTable, rng: np.random.Generator) -> LabelledTable:
    columns = {}
    for name, values in table.columns.items():
        columns[name] = values.copy()
        columns[name][rng.random(len(values)) < _MISSING_SHARE] = np.nan if values.dtype.kind == "f" else None
    return LabelledTable(columns, table.label)
