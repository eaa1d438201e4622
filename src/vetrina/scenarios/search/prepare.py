"""What serving of search needs beside the models."""

from dataclasses import replace
from pathlib import Path

from vetrina.bundle.catalogue.write import write_catalogue
from vetrina.bundle.spelling.write import write_word_counts
from vetrina.core.types import TrainingData
from vetrina.features import histories, item_statistics, keyword_stuffing
from vetrina.scenarios.search.scenario import RECIPE


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """All models, whatever the data: without events, popularity is the order of the catalogue."""
    return RECIPE.models


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models.

    Returns:
        The training data with titles that are cleaned of keyword stuffing.

    Raises:
        ValueError: there is no catalogue.
    """
    catalogue = training_data.catalogue
    if catalogue is None:
        raise ValueError("search needs a catalogue")
    write_catalogue(catalogue, into / "catalogue")
    histories.write(training_data.interactions, into / "histories")
    item_statistics.write(training_data, into / "statistics")
    cleaned = replace(catalogue, titles=keyword_stuffing.clean_titles(catalogue))
    write_word_counts(cleaned, into / "spelling.json")
    return replace(training_data, catalogue=cleaned)
