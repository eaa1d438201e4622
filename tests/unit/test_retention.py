"""Who comes back, against a count by hand; what is sent back earns nothing."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vetrina.api.shop import Shop
from vetrina.core.clock import DAY
from vetrina.core.types import Catalogue, Interactions
from vetrina.data import dataset
from vetrina.features import business_value
from vetrina.features.retention import retention_rates

ITEMS = 5
_EVENT = st.tuples(st.integers(0, 3), st.integers(0, ITEMS - 1), st.integers(0, 60 * 24))


def log(rows: list[tuple[int, int, int]], until: float) -> Interactions:
    rows = sorted(rows, key=lambda r: r[2])
    user, item, hour = (np.array([r[n] for r in rows]) for n in range(3))
    users = np.array([f"u{n}" for n in range(4)])
    return Interactions(
        users, user.astype(np.int32), item.astype(np.int32), hour * 3_600.0, np.ones(len(rows), np.float32), until
    )


@settings(max_examples=60)
@given(st.lists(_EVENT, min_size=1, max_size=30), st.sampled_from([7.0, 28.0]))
def test_as_counted_by_hand(rows, days):
    until = 60 * DAY
    takers: list[tuple[int, bool]] = []
    for user in range(4):
        own = sorted((hour * 3_600.0, item) for u, item, hour in rows if u == user)
        for item in range(ITEMS):
            first = next((time for time, i in own if i == item), None)
            if first is not None and first + days * DAY <= until:
                takers.append((item, any(first + DAY < time <= first + days * DAY for time, _ in own)))
    found = retention_rates(log(rows, until), ITEMS, days)
    if not takers:
        assert np.isnan(found).all()
        return
    mean = np.mean([back for _, back in takers])
    for item in range(ITEMS):
        own = [back for i, back in takers if i == item]
        np.testing.assert_allclose(found[item], (sum(own) + 20 * mean) / (len(own) + 20), rtol=1e-5)


def test_without_behaviour_nothing_is_known():
    assert np.isnan(retention_rates(None, 3, 7.0)).all()


def test_what_is_sent_back_earns_nothing(tmp_path):
    (tmp_path / "products.csv").write_text("product_id,title,price,cost\nkept,a,10,4\nback,b,10,4\n")
    lines = ["timestamp,user_id,type,product_id"]
    for number in range(100):
        moment = 1_700_000_000 + number * 3_600
        lines += [f"{moment},u{number},purchase,kept", f"{moment},u{number},purchase,back"]
        lines += [f"{moment + 60},u{number},return,back"] if number % 2 else []
    (tmp_path / "events.csv").write_text("\n".join(lines) + "\n")
    catalogue = dataset.catalogue(
        Shop(tmp_path / "shop").ingest(products=[tmp_path / "products.csv"], events=[tmp_path / "events.csv"])
    )
    assert isinstance(catalogue, Catalogue)
    back, kept = business_value.sale_values(catalogue)
    # Half of one, none of the other, each drawn to the quarter of all by ten purchases.
    np.testing.assert_allclose(back, np.array([10.0, 6.0]) * (1 - 52.5 / 110))
    np.testing.assert_allclose(kept, np.array([10.0, 6.0]) * (1 - 2.5 / 110))
    lifted = business_value.score_factors(business_value.sale_values(catalogue), {"revenue": 1.0})
    assert lifted is not None
    assert lifted[0] < lifted[1]
