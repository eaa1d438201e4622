"""What serving of ads needs beside the models, and the models that the data supports."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from vetrina.bundle.catalogue.write import write_catalogue
from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import TrainingData
from vetrina.evaluation import delays
from vetrina.features import affinities, category_levels, histories
from vetrina.features.table_encoding import TableEncoding
from vetrina.scenarios.ads.examples import training_examples
from vetrina.scenarios.ads.scenario import RECIPE

_MIN_IMPRESSIONS = 200  # from which click models are trained
_MIN_CLICKS = 10
_CONVERSION_PRIOR_CLICKS = 20.0  # clicks by which a product's conversion rate is shrunk to the mean of the shop


def models_for(training_data: TrainingData) -> tuple[str, ...]:
    """The click models; none where there are too few impressions or clicks, and ads are ranked by category affinity."""
    impressions = training_data.ad_impressions
    if impressions is None or len(impressions) < _MIN_IMPRESSIONS:
        return ()
    n_clicks = impressions.clicked.sum()
    if n_clicks < _MIN_CLICKS or n_clicks >= len(impressions):
        return ()
    return RECIPE.models


def prepare(training_data: TrainingData, into: Path) -> TrainingData:
    """Write what serving needs beside the models.

    Returns:
        The impressions as an encoded table for the click models; the training data as it is where there are none.

    Raises:
        ValueError: there is no catalogue or there are no interactions.
    """
    catalogue = training_data.catalogue
    events = training_data.interactions
    impressions = training_data.ad_impressions
    if catalogue is None or events is None:
        raise ValueError("ads need a catalogue and interactions")
    write_catalogue(catalogue, into / "catalogue")
    histories.write(events, into / "histories")
    codes = category_levels.write(catalogue, into / "category_levels")
    first_seen = affinities.first_seen(events, len(catalogue))
    user_affinities = affinities.build(events, codes, catalogue.prices, first_seen, events.until)
    affinities.write(user_affinities, into / "affinities")
    affinities.write_users(events, len(catalogue), into / "affinities")
    (into / "ads.json").write_bytes(msgspec.json.encode(training_data.ads))
    np.save(into / "conversion.npy", _conversion_lift(training_data, len(catalogue)))
    if not models_for(training_data) or impressions is None:
        return training_data
    features = training_examples(impressions, events, codes, catalogue.prices)
    table = LabelledTable(features.columns(), impressions.clicked.astype(np.float32))
    encoding = TableEncoding.fit(table)
    (into / "encoding.json").write_bytes(msgspec.json.format(msgspec.json.encode(encoding)))
    rows = features.with_category_levels(encoding.encode_training_rows(table.columns, table.label))
    return TrainingData(encoded_table=replace(rows, secondary_label=impressions.purchased.astype(np.float32)))


def _conversion_lift(training_data: TrainingData, n_items: int) -> np.ndarray:
    """(items,) purchase rate of a product's clicks over the mean of the shop, shrunk to 1 by _CONVERSION_PRIOR_CLICKS clicks.

    A recent click counts with the share of purchases that have been observed at its age.
    """
    impressions = training_data.ad_impressions
    if impressions is None or training_data.interactions is None or not impressions.purchased.any():
        return np.ones(n_items, np.float32)
    now = min(impressions.until, training_data.interactions.until)
    purchased = impressions.purchased
    clicked = impressions.clicked
    age = now - impressions.clicked_at
    delay = impressions.purchased_at[purchased] - impressions.clicked_at[purchased]
    delay_distribution = delays.estimate_delays(delay, age[purchased])
    observed_share = np.zeros(len(impressions))
    observed_share[clicked] = delay_distribution.observed_share(age[clicked])
    clicks = np.bincount(impressions.item, observed_share, n_items)
    purchases = np.bincount(impressions.item, purchased, n_items)
    mean_rate = float(purchases.sum() / max(clicks.sum(), 1e-9))
    smoothed_rate = (purchases + _CONVERSION_PRIOR_CLICKS * mean_rate) / (clicks + _CONVERSION_PRIOR_CLICKS)
    return (smoothed_rate / mean_rate).astype(np.float32)
