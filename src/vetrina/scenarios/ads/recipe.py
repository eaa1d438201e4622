"""What ads is made of: click predictors on what a user has to do with an advertised product, and the shop's ads themselves."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import Recipe, TrainingData
from vetrina.features import affinities, category_levels, histories
from vetrina.features.table_encoding import TableEncoding
from vetrina.metrics import delays
from vetrina.retrieval import catalogue_index
from vetrina.scenarios.ads.examples import training_examples

RECIPE = Recipe(
    scenario="ads", models=("boosted", "dcn", "din", "logistic"), baselines=("logistic",), metric="negative log loss"
)
ANSWER_KIND = "products"  # ranked, shown to shoppers
DROPS_UNWEIGHTED_MODELS = True  # a bundle may lack models that weigh nothing
ALWAYS_FITTED = ()  # no model answers by itself
_MIN_IMPRESSIONS = 200
_MIN_CLICKS = 10
_CONVERSION_PRIOR_CLICKS = 20.0


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """None where too few ads were shown to learn from: then whoever likes the kind of product is shown the ad."""
    shown = training_data.ad_impressions
    if shown is None or len(shown) < _MIN_IMPRESSIONS or not _MIN_CLICKS <= shown.clicked.sum() < len(shown):
        return ()
    return RECIPE.models


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models, and hand impressions to them as an encoded table."""
    catalogue = training_data.catalogue
    events = training_data.interactions
    shown = training_data.ad_impressions
    if catalogue is None or events is None:
        raise ValueError("ads need a catalogue and behaviour")
    catalogue_index.write(catalogue, into / "shelf")
    histories.write(events, into / "histories")
    codes = category_levels.write(catalogue, into / "kinds")
    first = affinities.first_seen(events, len(catalogue))
    affinities.write(affinities.build(events, codes, catalogue.prices, first, events.until), into / "affinities")
    affinities.write_users(events, len(catalogue), into / "affinities")
    (into / "ads.json").write_bytes(msgspec.json.encode(training_data.ads))
    np.save(into / "conversion.npy", _conversion_lift(training_data, len(catalogue)))
    if not models_for(training_data) or shown is None:
        return training_data
    situations = training_examples(shown, events, codes, catalogue.prices)
    raw = LabelledTable(situations.columns(), shown.clicked.astype(np.float32))
    encoding = TableEncoding.fit(raw)
    (into / "encoding.json").write_bytes(msgspec.json.format(msgspec.json.encode(encoding)))
    rows = situations.with_category_levels(encoding.encode_training_rows(raw.columns, raw.label))
    return TrainingData(encoded_table=replace(rows, secondary_label=shown.purchased.astype(np.float32)))


def _conversion_lift(training_data: TrainingData, items: int) -> np.ndarray:
    """(items,) chance that a click is followed by a purchase over the shop's mean, drawn towards 1 by _PRIOR_CLICKS clicks.

    A click counts as far as what follows clicks of its age has followed by now.
    """
    shown = training_data.ad_impressions
    if shown is None or training_data.interactions is None or not shown.purchased.any():
        return np.ones(items, np.float32)
    now = min(shown.until, training_data.interactions.until)
    bought = shown.purchased
    age = now - shown.clicked_at
    arrived = np.zeros(len(shown))
    arrived[shown.clicked] = delays.estimate_delays(
        shown.purchased_at[bought] - shown.clicked_at[bought], age[bought]
    ).observed_share(age[shown.clicked])
    clicks = np.bincount(shown.item, arrived, items)
    sold = np.bincount(shown.item, bought, items)
    mean = float(sold.sum() / max(clicks.sum(), 1e-9))
    return ((sold + _CONVERSION_PRIOR_CLICKS * mean) / (clicks + _CONVERSION_PRIOR_CLICKS) / mean).astype(np.float32)
