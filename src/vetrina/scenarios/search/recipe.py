"""What search is made of."""

from dataclasses import replace
from pathlib import Path

from vetrina.core.types import Recipe, TrainingData
from vetrina.features import histories, item_statistics, keyword_stuffing
from vetrina.retrieval import catalogue_index, spelling

RECIPE = Recipe(scenario="search", models=("bm25", "text", "popular", "fusion"), baselines=("bm25",), metric="NDCG@10")
ANSWER_KIND = "products"  # ranked, shown to shoppers
DROPS_UNWEIGHTED_MODELS = False  # every signal is computed from all of them
ALWAYS_FITTED = ()  # no model answers by itself


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """Always all: without events popularity is the order of the shelf."""
    return RECIPE.models


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models. They read titles without the words that they are stuffed with."""
    if training_data.catalogue is None:
        raise ValueError("search needs a catalogue")
    catalogue_index.write(training_data.catalogue, into / "shelf")
    histories.write(training_data.interactions, into / "histories")
    item_statistics.write(training_data, into / "statistics")
    read = replace(training_data.catalogue, titles=keyword_stuffing.clean_titles(training_data.catalogue))
    spelling.write(read, into / "spelling.json")
    return replace(training_data, catalogue=read)
