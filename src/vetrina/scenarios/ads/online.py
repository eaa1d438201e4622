"""Ad selection at serving time: eligibility, click probability, pacing, auction.

Reads budgets and impressions from the spend ledger of the context; writes nothing. No training library is imported here.
"""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.bundle.catalogue.read import CatalogueIndex
from vetrina.core.protocols import Context
from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Ad, AdPlacement, Answer, AuctionEntry, Floats, Ints, RankedItem, Request
from vetrina.features import affinities, segments
from vetrina.features.affinities import COLUMNS
from vetrina.features.category_levels import LEVELS, CategoryLevels
from vetrina.features.histories import Histories
from vetrina.features.table_encoding import TableEncoding
from vetrina.model_selection.calibration import from_options
from vetrina.models.base import find_model
from vetrina.scenarios.ads.auction import AuctionOutcome, run_auction
from vetrina.scenarios.ads.features import MAX_RECENT_EVENTS, NO_EVENT, ImpressionFeatures
from vetrina.scenarios.base import RankingBundle

FLOOR_PRICE = 0.001  # of a click, in the currency of the bids
_N_PROBE_PRODUCTS = 60  # distinct products in the requests of a probe
_PROBE_SESSION_LENGTH = 5  # products in one request of a probe
_PROBE_SLOTS = 3
_DEFAULT_CLICK_PROBABILITY = 0.01  # without a click model, of a user with average affinity
_MIN_LIFT = 0.01  # bounds of the affinity that scales it
_MAX_LIFT = 9.0
_MIN_CLICK_PROBABILITY = 1e-6
_MIN_QUALITY = 0.5  # bounds of the conversion lift of a product
_MAX_QUALITY = 2.0
_LIFT_COLUMN = COLUMNS.index(f"{LEVELS[1]}: lift")
_UNRELATED_AD_QUALITY = 0.5  # quality of an ad that shares no word with the query


class AdServer(RankingBundle):
    """A loaded bundle. ``items`` (ads,) are the products of ``ads`` in the catalogue."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights: dict[str, float] = content["weights"].get("ads", {})
        self.models: tuple[str, ...] = tuple(content["models"])
        self.active_models = tuple(name for name in self.models if weights.get(name))
        self.calibration = from_options(content["options"].get("calibration"))
        self.catalogue = CatalogueIndex(folder / "catalogue")
        self.category_levels = CategoryLevels(folder / "category_levels")
        self.histories = Histories(folder / "histories")
        self.affinities = affinities.read(folder / "affinities")
        self.users, _ = affinities.read_users(folder / "affinities")
        ads = msgspec.json.decode((folder / "ads.json").read_bytes(), type=tuple[Ad, ...])
        self.ads = tuple(ad for ad in ads if self.catalogue.index_of([ad.product_id])[0] >= 0)
        self.items = self.catalogue.index_of([ad.product_id for ad in self.ads])
        self.encoding = None
        if self.models:
            self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=TableEncoding)
        self._models = {}
        for name in self.models:
            self._models[name] = find_model(name).load(folder / name)
        conversion_lift = np.load(folder / "conversion.npy")[self.items]
        self._quality = np.clip(np.sqrt(conversion_lift), _MIN_QUALITY, _MAX_QUALITY)
        self._bids = np.array([ad.bid for ad in self.ads])
        self._campaign_index = np.unique([ad.campaign_id for ad in self.ads], return_inverse=True)[1]
        self._starts_at = np.array([-np.inf if ad.starts_at is None else ad.starts_at for ad in self.ads])
        self._ends_at = np.array([np.inf if ad.ends_at is None else ad.ends_at for ad in self.ads])
        self._ad_words = [frozenset(tokenise(self._product_text(item))) for item in self.items.tolist()]
        self._prices = np.asarray(self.catalogue.sort_key("price"))

    @property
    def daily_budgets(self) -> dict[str, float]:
        """Daily budget by campaign, infinite for none."""
        return {ad.campaign_id: _daily_budget(ad) for ad in self.ads}

    def raw_click_probability(self, features: ImpressionFeatures, only_model: str | None = None) -> Floats:
        """(n,) click probability before calibration: the mean of the active models, or one model's prediction.

        Without click models a default probability, scaled by the user's affinity to the category.
        """
        if self.encoding is None:
            lift = np.expm1(features.numeric[:, _LIFT_COLUMN])
            probability = _DEFAULT_CLICK_PROBABILITY * np.sqrt(lift.clip(_MIN_LIFT, _MAX_LIFT))
            return probability.astype(np.float32)
        encoded = features.encode(self.encoding)
        models = (only_model,) if only_model else self.active_models
        predictions = [self._models[name].predict(encoded) for name in models]
        return np.stack(predictions).mean(axis=0).astype(np.float32)

    def click_probability(self, features: ImpressionFeatures, only_model: str | None = None) -> Floats:
        """(n,) calibrated click probability; a single model's prediction is returned without calibration."""
        probability = self.raw_click_probability(features, only_model)
        if only_model:
            return probability
        return self.calibration.transform(probability)

    def impression_features(
        self, user_row: int, recent: Sequence[int], items: Ints, position: int = 1
    ) -> ImpressionFeatures:
        """Features of an impression of each product to one user.

        Args:
            user_row: row of the user in ``users``, -1 for a cold user.
            recent: items of the user's last events, newest last.
            items: (n,) products of the ads.
            position: slot of the ads, from 1.
        """
        category_levels = np.asarray(self.category_levels.codes[items])
        recent_levels = np.full((len(items), MAX_RECENT_EVENTS, category_levels.shape[1]), NO_EVENT, np.int32)
        newest_first = list(reversed(recent))[:MAX_RECENT_EVENTS]
        recent_levels[:, : len(newest_first)] = self.category_levels.codes[newest_first]
        affinity_features = self.affinities.features_for_user(user_row, category_levels, self._prices[items])
        positions = np.full(len(items), position, np.int32)
        return ImpressionFeatures.build(affinity_features, category_levels, recent_levels, positions)

    def user_row(self, user: str | None) -> int:
        """The row of a user in ``users``, -1 for a cold user or an anonymous visitor."""
        if user is None or not len(self.users):
            return -1
        row = int(np.searchsorted(self.users, user))
        if row < len(self.users) and self.users[row] == user:
            return row
        return -1

    def answer(self, request: Request, context: Context) -> Answer:
        """The winners of the auction for ``limit`` slots, each with the price of a click, and what the others needed to win."""
        user_row = self.user_row(request.user)
        eligible = self._eligible(request, user_row, context)
        if not len(eligible):
            return Answer((), 0)
        recent = self._recent_items(request, context)
        features = self.impression_features(user_row, recent, self.items[eligible])
        probability = self._corrected_click_probability(features, eligible, context)
        quality = self._quality[eligible] * self._query_relevance(request.query, eligible)
        multipliers = self._pacing_multipliers(eligible, request, context)
        campaigns = self._campaign_index[eligible]
        outcome = run_auction(
            self._bids[eligible], multipliers, probability, quality, campaigns, request.limit, FLOOR_PRICE
        )
        changed = context.catalogue_delta.changes_after(self.catalogue.last_seq).changed_products
        items = []
        for row, price in zip(outcome.order.tolist(), outcome.price.tolist(), strict=True):
            value_factor = float(quality[row] * multipliers[row])
            ad_index = int(eligible[row])
            items.append(self._to_ranked_item(ad_index, float(price), float(probability[row]), value_factor, changed))
        return Answer(tuple(items), len(eligible), offers=self._cheapest_offers(outcome, eligible))

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a probe: a user with a session of a few products."""
        first = number % _N_PROBE_PRODUCTS
        end = min(first + _PROBE_SESSION_LENGTH, len(self.catalogue))
        product_ids = tuple(self.catalogue.product_id(item) for item in range(first, end))
        user = None
        if len(self.users):
            user = str(self.users[number % len(self.users)])
        self.answer(Request(user=user, product_ids=product_ids, limit=_PROBE_SLOTS), context)

    def _eligible(self, request: Request, user_row: int, context: Context) -> NDArray[np.intp]:
        """Indices of the ads that run now, can be bought, target this user, and have budget and frequency cap left."""
        now = context.now
        is_eligible = (self._starts_at <= now) & (now < self._ends_at)
        mask = self.catalogue.filter_mask(request.filters)
        if mask is not None:
            is_eligible &= mask[self.items]
        is_eligible &= ~(np.asarray(self.catalogue.sort_key("stock"))[self.items] <= 0)
        hidden_ids = context.catalogue_delta.changes_after(self.catalogue.last_seq).hidden_ids
        ledger = context.spend_ledger
        user_or_session = request.user or request.session
        impressions = ledger.daily_impressions(user_or_session, now) if user_or_session else {}
        spend_by_campaign: dict[str, float] = {}
        for ad_index in np.flatnonzero(is_eligible).tolist():
            ad = self.ads[ad_index]
            spend = spend_by_campaign.setdefault(ad.campaign_id, ledger.daily_spend(ad.campaign_id, now))
            is_capped = bool(ad.frequency_cap) and (
                user_or_session is None or impressions.get(ad.ad_id, 0) >= ad.frequency_cap
            )
            is_over_budget = spend + FLOOR_PRICE > _daily_budget(ad)
            if ad.product_id in hidden_ids or is_capped or is_over_budget or not self._is_in_audience(ad, user_row):
                is_eligible[ad_index] = False
        return np.flatnonzero(is_eligible)

    def _is_in_audience(self, ad: Ad, user_row: int) -> bool:
        """Whether an ad targets a user; an ad for a segment targets no cold user."""
        if not ad.audience:
            return True
        if user_row < 0:
            return False
        return bool(segments.segment_members(self.affinities.user_features, ad.audience)[user_row])

    def _recent_items(self, request: Request, context: Context) -> list[int]:
        """Items of the user's last events, oldest first, with the products of the page last."""
        recent = context.recent_events.for_user(
            request.user, request.session, self.histories.until, self.histories.last_seq
        )
        product_ids = [*(product_id for product_id, _, _ in recent), *request.product_ids]
        index = self.catalogue.index_of(product_ids)
        in_bundle = self.histories.history_of(request.user, (), context.now).items[-MAX_RECENT_EVENTS:].tolist()
        return [*in_bundle, *(int(item) for item in index if item >= 0)][-MAX_RECENT_EVENTS:]

    def _corrected_click_probability(
        self, features: ImpressionFeatures, eligible: NDArray[np.intp], context: Context
    ) -> NDArray[np.floating]:
        """(n,) click probability of the eligible ads (n,), corrected by the clicks that each ad has had recently."""
        ledger = context.spend_ledger
        probability = self.click_probability(features)
        corrections = [ledger.click_correction(self.ads[index].ad_id, context.now) for index in eligible.tolist()]
        return np.clip(probability * corrections, _MIN_CLICK_PROBABILITY, 1.0)

    def _query_relevance(self, query: str, eligible: NDArray[np.intp]) -> Floats:
        """(n,) quality factor of the eligible ads (n,): 0.5 plus the share of the query's words; 1 without a query."""
        query_words = frozenset(tokenise(query))
        if not query_words:
            return np.ones(len(eligible), np.float32)
        factors = []
        for ad_index in eligible.tolist():
            share = len(query_words & self._ad_words[ad_index]) / len(query_words)
            factors.append(_UNRELATED_AD_QUALITY + share)
        return np.array(factors, np.float32)

    def _pacing_multipliers(
        self, eligible: NDArray[np.intp], request: Request, context: Context
    ) -> NDArray[np.float64]:
        """(n,) pacing multiplier of each eligible ad (n,), 0 where its campaign does not take part in this answer."""
        budgets = {self.ads[index].campaign_id: _daily_budget(self.ads[index]) for index in eligible.tolist()}
        paces: dict[str, tuple[float, float]] = {}
        for campaign, budget in budgets.items():
            paces[campaign] = context.spend_ledger.pacing(campaign, budget, context.now)
        multipliers = []
        for index in eligible.tolist():
            campaign = self.ads[index].campaign_id
            multipliers.append(_pacing_multiplier(campaign, paces[campaign], request, context.now))
        return np.array(multipliers)

    def _cheapest_offers(self, outcome: AuctionOutcome, eligible: NDArray[np.intp]) -> tuple[AuctionEntry, ...]:
        """For each campaign the ad that would have won the last slot with the smallest multiplier."""
        cheapest: dict[str, AuctionEntry] = {}
        for row, ad_index in enumerate(eligible.tolist()):
            offer = AuctionEntry(
                self.ads[ad_index].campaign_id,
                float(outcome.min_winning_multiplier[row]),
                float(outcome.expected_spend[row]),
            )
            best = cheapest.get(offer.campaign_id)
            if best is None or offer.min_winning_multiplier < best.min_winning_multiplier:
                cheapest[offer.campaign_id] = offer
        return tuple(cheapest.values())

    def _to_ranked_item(
        self, ad_index: int, price: float, click_probability: float, value_factor: float, changed: Any
    ) -> RankedItem:
        """An item with its present title, scored by the value of the ad in the auction."""
        ad = self.ads[ad_index]
        item = int(self.items[ad_index])
        title = changed.get(ad.product_id, {}).get("title") or self.catalogue.title(item)
        score = ad.bid * click_probability * value_factor
        reason = f"bid {ad.bid:g} a click, price {price:.4f}, click probability {click_probability:.2%}"
        placement = AdPlacement(ad.ad_id, ad.campaign_id, round(price, 6), click_probability)
        return RankedItem(ad.product_id, title, score, (reason,), placement)

    def _product_text(self, item: int) -> str:
        """Title, category and brand of a product."""
        categories, category_of = self.catalogue.field_codes("category")
        brands, brand_of = self.catalogue.field_codes("brand")
        return f"{self.catalogue.title(item)} {categories[category_of[item]]} {brands[brand_of[item]]}"


def _pacing_multiplier(campaign: str, pace: tuple[float, float], request: Request, now: float) -> float:
    """The multiplier of a campaign that takes part in this answer, else 0.

    Participation is decided by a hash of campaign, user and time, so that a replay of the request decides the same.
    """
    multiplier, share = pace
    if share >= 1.0:
        return multiplier
    key = f"{campaign}|{request.user or request.session}|{now}"
    number = int.from_bytes(blake2b(key.encode(), digest_size=4).digest())
    return multiplier if number < share * 2**32 else 0.0


def _daily_budget(ad: Ad) -> float:
    return np.inf if ad.daily_budget is None else ad.daily_budget
