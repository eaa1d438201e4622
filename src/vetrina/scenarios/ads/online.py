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
from vetrina.core.types import Ad, Answer, Floats, Ints, Item, Offer, Placed, Request
from vetrina.core.words import words
from vetrina.features import affinities, segments
from vetrina.features.affinities import COLUMNS
from vetrina.features.encoding import Encoding
from vetrina.features.histories import Histories
from vetrina.features.kinds import LEVELS, Kinds
from vetrina.metrics.calibration import of_options
from vetrina.retrieval.shelf import Shelf
from vetrina.scenarios.ads.auction import Outcome, auction
from vetrina.scenarios.ads.features import RECENT, Situations

FLOOR = 0.001  # of a click, in the currency of the bids
_TRIED = 60  # products that a trial asks about
_USUAL_CHANCE, _LEAST_QUALITY, _MOST_QUALITY = 0.01, 0.5, 2.0
_LIFT = COLUMNS.index(f"{LEVELS[1]}: lift")
_UNRELATED = 0.5  # quality of an ad that shares no word with a query


class Ads:
    """One opened bundle."""

    def __init__(self, folder: Path) -> None:
        content = msgspec.json.decode((folder / "scenario.json").read_bytes())
        weights: dict[str, float] = content["weights"].get("ads", {})
        self.models: tuple[str, ...] = tuple(content["models"])
        self.chosen = tuple(m for m in self.models if weights.get(m))
        self.calibration = of_options(content["options"].get("calibration"))
        self.shelf, self.kinds = Shelf(folder / "shelf"), Kinds(folder / "kinds")
        self.histories = Histories(folder / "histories")
        self.affinities = affinities.read(folder / "affinities")
        self.users, _ = affinities.read_users(folder / "affinities")
        ads = msgspec.json.decode((folder / "ads.json").read_bytes(), type=tuple[Ad, ...])
        self.ads = tuple(ad for ad in ads if self.shelf.index_of([ad.product_id])[0] >= 0)
        self.items = self.shelf.index_of([ad.product_id for ad in self.ads])
        self.encoding = None
        if self.models:
            self.encoding = msgspec.json.decode((folder / "encoding.json").read_bytes(), type=Encoding)
        self._models = {m: plugins.part("models", m, "online").open(folder / m) for m in self.models}
        self._quality = np.clip(np.sqrt(np.load(folder / "conversion.npy")[self.items]), _LEAST_QUALITY, _MOST_QUALITY)
        self._bids = np.array([ad.bid for ad in self.ads])
        self._campaign = np.unique([ad.campaign_id for ad in self.ads], return_inverse=True)[1]
        self._begins = np.array([-np.inf if ad.starts_at is None else ad.starts_at for ad in self.ads])
        self._ends = np.array([np.inf if ad.ends_at is None else ad.ends_at for ad in self.ads])
        self._words = [frozenset(words(self._text(item))) for item in self.items.tolist()]
        self._prices = np.asarray(self.shelf.sort_key("price"))

    @property
    def budgets(self) -> dict[str, float]:
        """The daily budget of each campaign."""
        return {ad.campaign_id: _limit(ad) for ad in self.ads}

    @property
    def counts(self) -> None:
        """How often products were taken is not kept here."""
        return

    def said(self, situations: Situations, only: str | None = None) -> Floats:
        """(n,) chance of a click before calibration."""
        if self.encoding is None:
            lift = np.expm1(situations.numbers[:, _LIFT])
            return (_USUAL_CHANCE * np.sqrt(lift.clip(0.01, 9.0))).astype(np.float32)
        encoded = situations.encoded(self.encoding)
        asked = (only,) if only else self.chosen
        return np.stack([self._models[m].expected(encoded) for m in asked]).mean(axis=0).astype(np.float32)

    def chance(self, situations: Situations, only: str | None = None) -> Floats:
        """(n,) calibrated chance of a click; that of one model is as it says itself."""
        said = self.said(situations, only)
        return said if only else self.calibration.of(said)

    def situations(self, row: int, recent: Sequence[int], items: Ints, place: int = 1) -> Situations:
        """Of products to a user (row of ``users``, -1 for nobody known) whose last items are ``recent``, newest last."""
        kinds = np.asarray(self.kinds.codes[items])
        last = np.full((len(items), RECENT, kinds.shape[1]), -2, np.int32)
        newest = list(reversed(recent))[:RECENT]
        last[:, : len(newest)] = self.kinds.codes[newest]
        known = self.affinities.features_of(row, kinds, self._prices[items])
        return Situations.of(known, kinds, last, np.full(len(items), place, np.int32))

    def row(self, user: str | None) -> int:
        """The row of a user, -1 for one whom the bundle does not know."""
        if user is None or not len(self.users):
            return -1
        at = int(np.searchsorted(self.users, user))
        return at if at < len(self.users) and self.users[at] == user else -1

    def answer(self, request: Request, context: Context) -> Answer:
        """The ads of the best ``limit`` places, each with the price of a click, and what all others would have paid."""
        row = self.row(request.user)
        allowed = self._eligible(request, row, context)
        if not len(allowed):
            return Answer((), 0)
        chance = self.chance(self.situations(row, self._recent(request, context), self.items[allowed]))
        ledger, now = context.ledger, context.now
        chance = np.clip(chance * [ledger.correction(self.ads[at].ad_id, now) for at in allowed.tolist()], 1e-6, 1.0)
        quality = self._quality[allowed] * self._relevance(request.query, allowed)
        paces = {c: ledger.pace(c, b, now) for c, b in self._budgets(allowed).items()}
        joins = np.array([self._joined(self.ads[at], paces, request, now) for at in allowed.tolist()])
        campaign = self._campaign[allowed]
        found = auction(self._bids[allowed], joins, chance, quality, campaign, request.limit, FLOOR)
        changed = context.products.after(self.shelf.logged).changed
        items = tuple(
            self._item(int(allowed[at]), float(price), float(chance[at]), float(quality[at] * joins[at]), changed)
            for at, price in zip(found.order.tolist(), found.price.tolist(), strict=True)
        )
        return Answer(items, len(allowed), offers=self._offers(found, allowed))

    def try_out(self, number: int, context: Context) -> None:
        """Answer the ``number``-th request of a trial."""
        first = number % _TRIED
        seen = [self.shelf.id(i) for i in range(first, min(first + 5, len(self.shelf)))]
        user = str(self.users[number % len(self.users)]) if len(self.users) else None
        self.answer(Request(user=user, product_ids=tuple(seen), limit=3), context)

    def _eligible(self, request: Request, row: int, context: Context) -> NDArray[np.intp]:
        """Rows of ads that run, can be bought, are for this user, and whose budget and frequency cap are not used up."""
        now, ledger = context.now, context.ledger
        runs = (self._begins <= now) & (now < self._ends)
        mask, hidden = self.shelf.mask(request.filters), context.products.after(self.shelf.logged).hidden
        runs &= True if mask is None else mask[self.items]
        runs &= ~(np.asarray(self.shelf.sort_key("stock"))[self.items] <= 0)
        person = request.user or request.session
        seen = ledger.seen(person, now) if person else {}
        spent: dict[str, float] = {}
        for at in np.flatnonzero(runs).tolist():
            ad = self.ads[at]
            used = spent.setdefault(ad.campaign_id, ledger.spent(ad.campaign_id, now))
            full = ad.frequency_cap and (person is None or seen.get(ad.ad_id, 0) >= ad.frequency_cap)
            if ad.product_id in hidden or full or used + FLOOR > _limit(ad) or not self._is_for(ad, row):
                runs[at] = False
        return np.flatnonzero(runs)

    def _is_for(self, ad: Ad, row: int) -> bool:
        return not ad.audience or (row >= 0 and bool(segments.members(self.affinities.of_user, ad.audience)[row]))

    def _recent(self, request: Request, context: Context) -> list[int]:
        """What the user did last, the page that they look at last of all."""
        new = context.events.of(request.user, request.session, self.histories.until, self.histories.logged)
        ids = [*(product for product, _, _ in new), *request.product_ids]
        index = self.shelf.index_of(ids)
        before = self.histories.of(request.user, (), context.now).items[-RECENT:].tolist()
        return [*before, *(int(i) for i in index if i >= 0)][-RECENT:]

    def _relevance(self, query: str, allowed: NDArray[np.intp]) -> Floats:
        wanted = frozenset(words(query))
        if not wanted:
            return np.ones(len(allowed), np.float32)
        return np.array(
            [_UNRELATED + len(wanted & self._words[at]) / len(wanted) for at in allowed.tolist()], np.float32
        )

    def _budgets(self, allowed: NDArray[np.intp]) -> dict[str, float]:
        return {self.ads[at].campaign_id: _limit(self.ads[at]) for at in allowed.tolist()}

    def _joined(self, ad: Ad, paces: dict[str, tuple[float, float]], request: Request, now: float) -> float:
        """The multiplier of a campaign that takes part in this answer, else 0; the lot is drawn by who asks and when."""
        multiplier, share = paces[ad.campaign_id]
        if share >= 1.0:
            return multiplier
        lot = blake2b(f"{ad.campaign_id}|{request.user or request.session}|{now}".encode(), digest_size=4).digest()
        return multiplier if int.from_bytes(lot) < share * 2**32 else 0.0

    def _offers(self, found: Outcome, allowed: NDArray[np.intp]) -> tuple[Offer, ...]:
        """The cheapest offer of each campaign."""
        cheapest: dict[str, Offer] = {}
        for at, row in enumerate(allowed.tolist()):
            offer = Offer(self.ads[row].campaign_id, float(found.ratio[at]), float(found.spend[at]))
            known = cheapest.get(offer.campaign_id)
            if known is None or offer.ratio < known.ratio:
                cheapest[offer.campaign_id] = offer
        return tuple(cheapest.values())

    def _item(self, at: int, price: float, chance: float, quality: float, changed: Any) -> Item:
        ad, item = self.ads[at], int(self.items[at])
        title = changed.get(ad.product_id, {}).get("title") or self.shelf.title(item)
        score = ad.bid * chance * quality
        reasons = (f"a click is worth up to {ad.bid:g}, costs {price:.4f} and has a chance of {chance:.2%}",)
        return Item(ad.product_id, title, score, reasons, Placed(ad.ad_id, ad.campaign_id, round(price, 6), chance))

    def _text(self, item: int) -> str:
        names, codes = self.shelf.coded("category")
        brands, brand = self.shelf.coded("brand")
        return f"{self.shelf.title(item)} {names[codes[item]]} {brands[brand[item]]}"


def _limit(ad: Ad) -> float:
    return np.inf if ad.daily_budget is None else ad.daily_budget


def open(folder: Path) -> Ads:
    """Open a bundle's folder."""
    return Ads(folder)
