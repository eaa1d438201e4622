"""What ads is made of: click predictors on what a user has to do with an advertised product, and the shop's ads themselves."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np

from vetrina.core.tables import Table
from vetrina.core.types import Past, Recipe
from vetrina.features import affinities, histories, kinds
from vetrina.features.encoding import Encoding
from vetrina.metrics import delays
from vetrina.retrieval import shelf
from vetrina.scenarios.ads.examples import examples

RECIPE = Recipe(
    scenario="ads", models=("boosted", "dcn", "din", "logistic"), baselines=("logistic",), metric="negative log loss"
)
ANSWERS = "products"  # ranked, shown to shoppers
OPTIONAL = True  # a bundle may lack models that weigh nothing
ALONE = ()  # no model answers by itself
_LEAST_SHOWN, _LEAST_CLICKS = 200, 10
_PRIOR_CLICKS = 20.0


def models_for(past: Past) -> tuple[str, ...]:
    """None where too few ads were shown to learn from: then whoever likes the kind of product is shown the ad."""
    shown = past.impressions
    if shown is None or len(shown) < _LEAST_SHOWN or not _LEAST_CLICKS <= shown.clicked.sum() < len(shown):
        return ()
    return RECIPE.models


def prepare(past: Past, into: Path) -> Past:
    """Write what serving needs beside the models, and hand impressions to them as an encoded table."""
    catalogue, events, shown = past.catalogue, past.interactions, past.impressions
    if catalogue is None or events is None:
        raise ValueError("ads need a catalogue and behaviour")
    shelf.write(catalogue, into / "shelf")
    histories.write(events, into / "histories")
    codes = kinds.write(catalogue, into / "kinds")
    first = affinities.first_seen(events, len(catalogue))
    affinities.write(affinities.build(events, codes, catalogue.prices, first, events.until), into / "affinities")
    affinities.write_users(events, len(catalogue), into / "affinities")
    (into / "ads.json").write_bytes(msgspec.json.encode(past.ads))
    np.save(into / "conversion.npy", _conversion(past, len(catalogue)))
    if not models_for(past) or shown is None:
        return past
    situations = examples(shown, events, codes, catalogue.prices)
    raw = Table(situations.columns(), shown.clicked.astype(np.float32))
    encoding = Encoding.learn(raw)
    (into / "encoding.json").write_bytes(msgspec.json.format(msgspec.json.encode(encoding)))
    rows = situations.beside(encoding.learnt(raw.columns, raw.label))
    return Past(rows=replace(rows, second=shown.bought.astype(np.float32)))


def _conversion(past: Past, items: int) -> np.ndarray:
    """(items,) chance that a click is followed by a purchase over the shop's mean, drawn towards 1 by _PRIOR_CLICKS clicks.

    A click counts as far as what follows clicks of its age has followed by now.
    """
    shown = past.impressions
    if shown is None or past.interactions is None or not shown.bought.any():
        return np.ones(items, np.float32)
    now, bought = min(shown.until, past.interactions.until), shown.bought
    age = now - shown.clicked_at
    arrived = np.zeros(len(shown))
    arrived[shown.clicked] = delays.estimate(shown.bought_at[bought] - shown.clicked_at[bought], age[bought]).arrived(
        age[shown.clicked]
    )
    clicks, sold = np.bincount(shown.item, arrived, items), np.bincount(shown.item, bought, items)
    mean = float(sold.sum() / max(clicks.sum(), 1e-9))
    return ((sold + _PRIOR_CLICKS * mean) / (clicks + _PRIOR_CLICKS) / mean).astype(np.float32)
