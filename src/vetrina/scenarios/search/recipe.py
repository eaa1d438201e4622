"""What search is made of."""

from dataclasses import replace
from pathlib import Path

from vetrina.core.types import Past, Recipe
from vetrina.features import histories, item_statistics, titles
from vetrina.retrieval import shelf, spelling

RECIPE = Recipe(scenario="search", models=("bm25", "text", "popular", "fusion"), baselines=("bm25",), metric="NDCG@10")
ANSWERS = "products"  # ranked, shown to shoppers
OPTIONAL = False  # every signal is computed from all of them
ALONE = ()  # no model answers by itself


def models_for(past: Past) -> tuple[str, ...]:
    """Always all: without events popularity is the order of the shelf."""
    return RECIPE.models


def prepare(past: Past, into: Path) -> Past:
    """Write what serving needs beside the models. They read titles without the words that they are stuffed with."""
    if past.catalogue is None:
        raise ValueError("search needs a catalogue")
    shelf.write(past.catalogue, into / "shelf")
    histories.write(past.interactions, into / "histories")
    item_statistics.write(past, into / "statistics")
    read = replace(past.catalogue, titles=titles.honest(past.catalogue))
    spelling.write(read, into / "spelling.json")
    return replace(past, catalogue=read)
