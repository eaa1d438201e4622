"""Builder of the BM25 index and the term vectors."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vetrina.bundle.lexical.write import write_lexical_index
from vetrina.bundle.term_vectors.write import write_term_vectors
from vetrina.core.progress import Progress
from vetrina.core.types import Catalogue, TrainingData, TrainingPlan, TrainNotes


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> TrainNotes:
    """Writes the BM25 index ``index/`` and the term vectors ``words/``.

    Args:
        training_data: Needs the catalogue.
        plan: Not used.
        into: The output folder.
        progress: Reports the two steps.

    Returns:
        Report: number of documents.
    """
    catalogue = training_data.catalogue
    if catalogue is None:
        raise ValueError("bm25 needs a catalogue")
    (into / "index").mkdir()
    full_texts = _full_texts(catalogue)
    with progress.step("bm25: index", 2) as step:
        write_lexical_index(into / "index", _documents(catalogue.titles, full_texts))
        step.advance()
        write_term_vectors(catalogue.titles, full_texts, into / "term_vectors")
        step.advance()
    return TrainNotes(report={"documents": len(catalogue)})


def _full_texts(catalogue: Catalogue) -> list[str]:
    """All text fields of each product, joined."""
    columns = (
        catalogue.titles,
        catalogue.categories,
        catalogue.brands,
        catalogue.descriptions,
        catalogue.attributes,
    )
    return [" ".join(fields) for fields in zip(*columns, strict=True)]


def _documents(titles: Sequence[str], full_texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    for item, (title, text) in enumerate(zip(titles, full_texts, strict=True)):
        yield {"item": item, "title": title, "everything": text}
