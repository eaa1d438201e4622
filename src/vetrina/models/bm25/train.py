"""Builds the word index of a catalogue."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vetrina.core.progress import Progress
from vetrina.core.types import TrainingData, TrainingPlan
from vetrina.retrieval import term_vectors
from vetrina.retrieval.lexical import build


def fit(training_data: TrainingData, plan: TrainingPlan, into: Path, progress: Progress) -> Mapping[str, Any]:
    """Writes ``index/`` and ``words/``."""
    catalogue = training_data.catalogue
    if catalogue is None:
        raise ValueError("bm25 needs a catalogue")
    (into / "index").mkdir()
    columns = (catalogue.titles, catalogue.categories, catalogue.brands, catalogue.descriptions, catalogue.attributes)
    everything = [*map(" ".join, zip(*columns, strict=True))]
    rows = zip(catalogue.titles, everything, strict=True)
    with progress.step("bm25: index", 2) as step:
        documents = ({"item": i, "title": title, "everything": text} for i, (title, text) in enumerate(rows))
        build(into / "index", documents)
        step.advance()
        term_vectors.write(catalogue.titles, everything, into / "words")
        step.advance()
    return {"documents": len(catalogue)}
