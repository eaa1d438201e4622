"""Tables with free text and holes, a tree that people can read, and a threshold with a goal."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from vetrina import Shop
from vetrina.api.batch import predict_file
from vetrina.core.errors import BadInput
from vetrina.core.progress import NoProgress
from vetrina.reports.version_page import write_version_page

BUDGET = 0.1  # minutes, in which the validation rows alone decide: folds are tried by themselves
GOOD = ("love the colour", "fits so well", "soft and warm", "would buy again", "my favourite dress")
BAD = ("sent it straight back", "the seam broke", "far too small", "looks cheap on me", "itchy all day")
PLAIN = ("ordered a week ago", "bought it for work", "in my usual size", "shown in blue online", "wore it once")


def reviews(path: Path, rows: int = 1_200) -> Path:
    """Yes for what is praised; ``age`` says nothing, ``returned`` is known of half and then tells."""
    rng = random.Random(8)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["review", "age", "returned", "label"])
        for number in range(rows):
            yes = rng.random() < 0.6
            words = (
                [*rng.sample(PLAIN, 3), rng.choice(GOOD if yes else BAD)]
                if rng.random() < 0.9
                else rng.sample(PLAIN, 3)
            )
            rng.shuffle(words)
            is_positive = rng.random() < 0.5
            out.writerow(
                [f"{'. '.join(words)} {number}", rng.randrange(18, 80), int(not yes) if is_positive else "", int(yes)]
            )
    return path


def test_words_of_a_text_tell_and_a_text_never_seen_is_no_fault(tmp_path: Path):
    shop = Shop(tmp_path / "shop")
    shop.ingest(table=reviews(tmp_path / "reviews.csv"))
    release = shop.fit("predict", budget_minutes=BUDGET)["predict"]
    assert release is not None
    assert release.outcome == "promoted"
    praised, blamed, unheard, nothing = shop.predict(
        [
            {"review": "fits so well, would buy again"},
            {"review": "the seam broke, sent it straight back"},
            {"review": "Ω 完全不同的 words " * 500},
            {},
        ]
    )
    assert praised["prediction"] is True
    assert praised["probability"] > 0.9
    assert blamed["prediction"] is False
    assert blamed["probability"] < 0.1
    assert 0.0 < unheard["probability"] < 1.0
    assert 0.0 < nothing["probability"] < 1.0


def test_a_tree_alone_ships_and_can_be_read(tmp_path: Path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "vetrina.toml").write_text(
        '[train]\nexclude_models = ["mlp", "boosted"]\n[predict]\ngoal = "precision 0.9"\n'
    )
    path = tmp_path / "orders.csv"
    rng = random.Random(5)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["spent", "channel", "label"])
        for _ in range(2_000):
            spent = rng.randrange(100)
            channel = rng.choice(["web", "app", "shop"])
            sure = 0.95 if (spent > 60) != (channel == "app") else 0.05  # what no weighted sum can say
            out.writerow([spent, channel, int(rng.random() < sure)])
    shop = Shop(folder)
    shop.ingest(table=path)
    release = shop.fit("predict", budget_minutes=BUDGET)["predict"]
    assert release is not None
    opened = shop.load("predict")
    assert opened.active_models == ("tree",)
    page = write_version_page(shop, release.version).read_text()
    for rule in ("spent &lt;= 6", "channel is &#x27;app&#x27;: yes 9", "The tree", "calibration error"):
        assert rule in page
    table = shop.splits(shop.shop_context.registry.get_version(release.version)).holdout().table
    predicted = opened.predict(table.columns) >= opened.threshold
    right = table.label[predicted] > 0.5
    assert right.mean() > 0.9
    assert predicted.sum() > 100


def test_a_goal_that_is_none_and_a_model_that_is_none_are_refused(tmp_path: Path):
    (tmp_path / "vetrina.toml").write_text('[predict]\ngoal = "precision much"\n')
    with pytest.raises(BadInput, match="precision much"):
        Shop(tmp_path).fit("predict")
    (tmp_path / "vetrina.toml").write_text('[train]\nexclude_models = ["oracle"]\n')
    shop = Shop(tmp_path)
    shop.ingest(table=reviews(tmp_path / "reviews.csv", 80))
    with pytest.raises(BadInput, match="oracle"):
        shop.fit("predict")


def ratings(path: Path, rows: int = 900) -> Path:
    """Four stars for a good fabric and two for nylon; late, three and three; half a star of noise."""
    rng = random.Random(3)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["fabric", "days", "shop", "stars"])
        for _ in range(rows):
            fabric = rng.choice(["wool", "linen", "nylon"])
            days = rng.randrange(10)
            stars = rng.gauss(3.0 if days > 5 else 2.0 if fabric == "nylon" else 4.0, 0.5)
            out.writerow([fabric, days, rng.choice("ab"), f"{min(5.0, max(1.0, stars)):.2f}"])
    return path


def test_a_number_is_told_as_well_as_its_noise_allows(tmp_path: Path):
    shop = Shop(tmp_path / "shop")
    shop.ingest(table=ratings(tmp_path / "ratings.csv"), label="stars")
    release = shop.fit("predict", budget_minutes=BUDGET)["predict"]
    assert release is not None
    assert release.outcome == "promoted"
    opened = shop.load("predict")
    assert "logistic" not in opened.models
    predictions = shop.predict([{"fabric": "wool", "days": 2}, {"fabric": "nylon", "days": 2}, {"fabric": "felt"}, {}])
    good, bad, unheard, nothing = (row["prediction"] for row in predictions)
    assert abs(good - 4.0) < 0.25
    assert abs(bad - 2.0) < 0.25
    assert all(1.0 <= stars <= 5.0 for stars in (unheard, nothing))
    version = shop.shop_context.registry.get_version(release.version)
    table = shop.splits(version).holdout().table
    missed = (
        np.array([a["prediction"] for a in opened.answer([*zip(*table.columns.values(), strict=True)])]) - table.label
    )
    assert 0.4 < float((missed**2).mean() ** 0.5) < 0.55
    assert opened.rmse == pytest.approx(0.5, abs=0.07)
    page = write_version_page(shop, release.version).read_text()
    for part in ("RMSE", "R2", "mean error", "Residuals"):
        assert part in page
    rows = predict_file(shop, tmp_path / "ratings.csv", tmp_path / "said.csv", NoProgress())
    assert rows == 900
    assert (tmp_path / "said.csv").read_text().startswith("row,prediction\n0,")


def test_a_tree_of_numbers_can_be_read(tmp_path: Path):
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "vetrina.toml").write_text('[train]\nexclude_models = ["mlp", "boosted", "dcn"]\n')
    shop = Shop(folder)
    shop.ingest(table=ratings(tmp_path / "ratings.csv"), label="stars")
    release = shop.fit("predict", budget_minutes=BUDGET)["predict"]
    assert release is not None
    assert shop.load("predict").active_models == ("tree",)
    page = write_version_page(shop, release.version).read_text()
    assert "days &lt;= 5" in page
    assert "fabric is &#x27;nylon&#x27;" in page


def test_several_words_as_label_are_refused(tmp_path: Path):
    (tmp_path / "t.csv").write_text("x,label\n" + "".join(f"{n},{'abc'[n % 3]}\n" for n in range(90)))
    shop = Shop(tmp_path / "shop")
    shop.ingest(table=tmp_path / "t.csv")
    report = shop.validate("predict")
    assert not report.is_ok
    assert any("answers yes or no, or a number" in c.meaning for c in report.checks if c.status == "FAIL")
