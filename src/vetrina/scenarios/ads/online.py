"""Answers ads requests: who may be shown, how likely a click is, then the auction."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from vetrina.core import plugins
from vetrina.core.protocols import Context
from vetrina.core.tokeniser import tokenise
from vetrina.core.types import Ad, AdPlacement, Answer, AuctionEntry, Floats, Ints, RankedItem, Request
from vetrina.features import affinities, segments
from vetrina.features.affinities import COLUMNS
from vetrina.features.category_levels import LEVELS, CategoryLevels
from vetrina.features.histories import Histories
from vetrina.features.table_encoding import TableEncoding
from vetrina.metrics.calibration import from_options
from vetrina.retrieval.catalogue_index import CatalogueIndex
from vetrina.scenarios.ads.auction import AuctionOutcome, run_auction
from vetrina.scenarios.ads.features import MAX_RECENT_EVENTS, ImpressionFeatures

FLOOR_PRICE = 0.001  # of a click, in the currency of the bids
_N_PROBE_PRODUCTS = 60  # products that a trial asks about
_DEFAULT_CLICK_PROBABILITY = 0.01
_MIN_QUALITY = 0.5
_MAX_QUALITY = 2.0
_LIFT_COLUMN = COLUMNS.index(f"{LEVELS[1]}: lift")
_UNRELATED_AD_QUALITY = 0.5  # quality of an ad that shares no word with a query


class AdServer:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights: dict[str, float] = content["weights"].get("ads", {})
        self.models: tuple[str, ...] = tuple(content["models"])
        self.active_models = tuple(m for m in self.models if weights.get(m))
        self.calibration = from_options(content["options"].get("calibration"))
        self.catalogue = CatalogueIndex(folder / "shelf")
        self.category_levels = CategoryLevels(folder / "kinds")
        self.histories = Histories(folder / "histories")
        self.affinities = affinities.read(folder / "affinities")
        self.users, _ = affinities.read_users(folder / "affinities")
        ads = msgspec.json.decode((folder / "ads.json").read_bytes(), type=tuple[Ad, ...])
        self.ads = tuple(ad for ad in ads if self.catalogue.index_of([ad.product_id])[0] >= 0)
        self.items = self.catalogue.index_of([ad.product_id for ad in self.ads])
        self.encoding = None
        if self.models:
            self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=TableEncoding)
        self._models = {m: plugins.load_module("models", m, "online").load(folder / m) for m in self.models}
        self._quality = np.clip(np.sqrt(np.load(folder / "conversion.npy")[self.items]), _MIN_QUALITY, _MAX_QUALITY)
        self._bids = np.array([ad.bid for ad in self.ads])
        self._campaign_index = np.unique([ad.campaign_id for ad in self.ads], return_inverse=True)[1]
        self._starts_at = np.array([-np.inf if ad.starts_at is None else ad.starts_at for ad in self.ads])
        self._ends_at = np.array([np.inf if ad.ends_at is None else ad.ends_at for ad in self.ads])
        self._ad_words = [frozenset(tokenise(self._product_text(item))) for item in self.items.tolist()]
        self._prices = np.asarray(self.catalogue.sort_key("price"))

    @property
    def daily_budgets(self) -> dict[str, float]:
        """The daily budget of each campaign."""
        return {ad.campaign_id: _daily_budget(ad) for ad in self.ads}

    @property
    def item_counts(self) -> None:
        """How often products were taken is not kept here."""
        return

    def raw_click_probability(self, features: ImpressionFeatures, only_model: str | None = None) -> Floats:
        """(n,) chance of a click before calibration."""
        if self.encoding is None:
            lift = np.expm1(features.numeric[:, _LIFT_COLUMN])
            return (_DEFAULT_CLICK_PROBABILITY * np.sqrt(lift.clip(0.01, 9.0))).astype(np.float32)
        encoded = features.encode(self.encoding)
        asked = (only_model,) if only_model else self.active_models
        return np.stack([self._models[m].predict(encoded) for m in asked]).mean(axis=0).astype(np.float32)

    def click_probability(self, features: ImpressionFeatures, only_model: str | None = None) -> Floats:
        """(n,) calibrated chance of a click; that of one model is as it says itself."""
        said = self.raw_click_probability(features, only_model)
        return said if only_model else self.calibration.transform(said)

    def impression_features(
        self, user_row: int, recent: Sequence[int], items: Ints, position: int = 1
    ) -> ImpressionFeatures:
        """Of products to a user (row of ``users``, -1 for nobody known) whose last items are ``recent``, newest last."""
        kinds = np.asarray(self.category_levels.codes[items])
        last = np.full((len(items), MAX_RECENT_EVENTS, kinds.shape[1]), -2, np.int32)
        newest = list(reversed(recent))[:MAX_RECENT_EVENTS]
        last[:, : len(newest)] = self.category_levels.codes[newest]
        known = self.affinities.features_for_user(user_row, kinds, self._prices[items])
        return ImpressionFeatures.build(known, kinds, last, np.full(len(items), position, np.int32))

    def user_row(self, user: str | None) -> int:
        """The row of a user, -1 for one whom the bundle does not know."""
        if user is None or not len(self.users):
            return -1
        at = int(np.searchsorted(self.users, user))
        return at if at < len(self.users) and self.users[at] == user else -1

    def answer(self, request: Request, context: Context) -> Answer:
        """The ads of the best ``limit`` places, each with the price of a click, and what all others would have paid."""
        row = self.user_row(request.user)
        allowed = self._eligible(request, row, context)
        if not len(allowed):
            return Answer((), 0)
        chance = self.click_probability(
            self.impression_features(row, self._recent_items(request, context), self.items[allowed])
        )
        ledger = context.spend_ledger
        now = context.now
        chance = np.clip(
            chance * [ledger.click_correction(self.ads[at].ad_id, now) for at in allowed.tolist()], 1e-6, 1.0
        )
        quality = self._quality[allowed] * self._query_relevance(request.query, allowed)
        paces = {c: ledger.pacing(c, b, now) for c, b in self._campaign_budgets(allowed).items()}
        joins = np.array([self._pacing_multiplier(self.ads[at], paces, request, now) for at in allowed.tolist()])
        campaign = self._campaign_index[allowed]
        found = run_auction(self._bids[allowed], joins, chance, quality, campaign, request.limit, FLOOR_PRICE)
        changed = context.catalogue_delta.changes_after(self.catalogue.last_seq).changed_products
        items = tuple(
            self._item(int(allowed[at]), float(price), float(chance[at]), float(quality[at] * joins[at]), changed)
            for at, price in zip(found.order.tolist(), found.price.tolist(), strict=True)
        )
        return Answer(items, len(allowed), offers=self._cheapest_offers(found, allowed))

    def answer_probe(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        first = number % _N_PROBE_PRODUCTS
        seen = [self.catalogue.product_id(i) for i in range(first, min(first + 5, len(self.catalogue)))]
        user = str(self.users[number % len(self.users)]) if len(self.users) else None
        self.answer(Request(user=user, product_ids=tuple(seen), limit=3), context)

    def _eligible(self, request: Request, user_row: int, context: Context) -> NDArray[np.intp]:
        """Rows of ads that run, can be bought, are for this user, and whose budget and frequency cap are not used up."""
        now = context.now
        ledger = context.spend_ledger
        runs = (self._starts_at <= now) & (now < self._ends_at)
        mask = self.catalogue.filter_mask(request.filters)
        hidden = context.catalogue_delta.changes_after(self.catalogue.last_seq).hidden_ids
        runs &= True if mask is None else mask[self.items]
        runs &= ~(np.asarray(self.catalogue.sort_key("stock"))[self.items] <= 0)
        person = request.user or request.session
        seen = ledger.daily_impressions(person, now) if person else {}
        spent: dict[str, float] = {}
        for at in np.flatnonzero(runs).tolist():
            ad = self.ads[at]
            used = spent.setdefault(ad.campaign_id, ledger.daily_spend(ad.campaign_id, now))
            full = ad.frequency_cap and (person is None or seen.get(ad.ad_id, 0) >= ad.frequency_cap)
            if (
                ad.product_id in hidden
                or full
                or used + FLOOR_PRICE > _daily_budget(ad)
                or not self._is_in_audience(ad, user_row)
            ):
                runs[at] = False
        return np.flatnonzero(runs)

    def _is_in_audience(self, ad: Ad, user_row: int) -> bool:
        return not ad.audience or (
            user_row >= 0 and bool(segments.segment_members(self.affinities.user_features, ad.audience)[user_row])
        )

    def _recent_items(self, request: Request, context: Context) -> list[int]:
        """What the user did last, the page that they look at last of all."""
        new = context.recent_events.for_user(
            request.user, request.session, self.histories.until, self.histories.last_seq
        )
        ids = [*(product for product, _, _ in new), *request.product_ids]
        index = self.catalogue.index_of(ids)
        before = self.histories.history_of(request.user, (), context.now).items[-MAX_RECENT_EVENTS:].tolist()
        return [*before, *(int(i) for i in index if i >= 0)][-MAX_RECENT_EVENTS:]

    def _query_relevance(self, query: str, allowed: NDArray[np.intp]) -> Floats:
        wanted = frozenset(tokenise(query))
        if not wanted:
            return np.ones(len(allowed), np.float32)
        return np.array(
            [_UNRELATED_AD_QUALITY + len(wanted & self._ad_words[at]) / len(wanted) for at in allowed.tolist()],
            np.float32,
        )

    def _campaign_budgets(self, allowed: NDArray[np.intp]) -> dict[str, float]:
        return {self.ads[at].campaign_id: _daily_budget(self.ads[at]) for at in allowed.tolist()}

    def _pacing_multiplier(self, ad: Ad, paces: dict[str, tuple[float, float]], request: Request, now: float) -> float:
        """The multiplier of a campaign that takes part in this answer, else 0; the lot is drawn by who asks and when."""
        multiplier, share = paces[ad.campaign_id]
        if share >= 1.0:
            return multiplier
        lot = blake2b(f"{ad.campaign_id}|{request.user or request.session}|{now}".encode(), digest_size=4).digest()
        return multiplier if int.from_bytes(lot) < share * 2**32 else 0.0

    def _cheapest_offers(self, outcome: AuctionOutcome, allowed: NDArray[np.intp]) -> tuple[AuctionEntry, ...]:
        """The cheapest offer of each campaign."""
        cheapest: dict[str, AuctionEntry] = {}
        for at, row in enumerate(allowed.tolist()):
            offer = AuctionEntry(
                self.ads[row].campaign_id, float(outcome.min_winning_multiplier[at]), float(outcome.expected_spend[at])
            )
            known = cheapest.get(offer.campaign_id)
            if known is None or offer.min_winning_multiplier < known.min_winning_multiplier:
                cheapest[offer.campaign_id] = offer
        return tuple(cheapest.values())

    def _item(self, at: int, price: float, click_probability: float, quality: float, changed: Any) -> RankedItem:
        ad = self.ads[at]
        item = int(self.items[at])
        title = changed.get(ad.product_id, {}).get("title") or self.catalogue.title(item)
        score = ad.bid * click_probability * quality
        reasons = (f"a click is worth up to {ad.bid:g}, costs {price:.4f} and has a chance of {click_probability:.2%}",)
        return RankedItem(
            ad.product_id,
            title,
            score,
            reasons,
            AdPlacement(ad.ad_id, ad.campaign_id, round(price, 6), click_probability),
        )

    def _product_text(self, item: int) -> str:
        names, codes = self.catalogue.field_codes("category")
        brands, brand = self.catalogue.field_codes("brand")
        return f"{self.catalogue.title(item)} {names[codes[item]]} {brands[brand[item]]}"


def _daily_budget(ad: Ad) -> float:
    return np.inf if ad.daily_budget is None else ad.daily_budget


def load(folder: Path) -> AdServer:
    """Open a bundle's folder."""
    return AdServer(folder)
