"""What a budget pays for."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.types import Catalogue, Interactions, Judgments, Recipe, TrainingData, TrainingPlan
from vetrina.model_selection.budget_planner import plan_text, plan_training
from vetrina.scenarios.predict.scenario import RECIPE as PREDICT

RECIPE = Recipe("recommend", ("popular", "sasrec", "gru"), ("popular",), "NDCG@10")


def past(lines: int, products: int = 500, length: int = 10) -> TrainingData:
    """Users with ``length`` events each, one after the other."""
    user = (np.arange(lines) // length).astype(np.int32)
    item = (np.arange(lines) * 7 % products).astype(np.int32)
    names = np.array([f"u{n}" for n in range(int(user.max()) + 1)])
    time = np.arange(lines, dtype=float)
    return TrainingData(None, Interactions(names, user, item, time, np.ones(lines, np.float32), float(lines)))


def test_plenty_of_time_pays_for_everything():
    plan = plan_training(RECIPE, past(10_000), TrainingPlan(budget_seconds=3_600), validation_users=1_000)
    assert plan.without == ()
    assert plan.settings["sasrec"] == plan.settings["gru"] == {"epochs": 16.0}
    assert plan.trials == {"sasrec": 40, "gru": 40}
    assert (
        plan_text(plan) == "plan for 60 minutes: sasrec 16 epochs, gru 16 epochs, 40 trials of gru, 40 trials of sasrec"
    )


def test_hardly_any_time_leaves_the_networks_out_and_says_so():
    plan = plan_training(RECIPE, past(200_000), TrainingPlan(budget_seconds=5))
    assert plan.without == ("sasrec", "gru")
    assert plan_text(plan) == "plan for 0 minutes: no networks; left out: sasrec, gru"


def test_cheap_models_are_tried_first_and_none_too_seldom_to_find_anything():
    recipe = replace(RECIPE, models=("popular", "item_knn", "sasrec"))
    tried = [
        plan_training(recipe, past(20_000), TrainingPlan(budget_seconds=s), validation_users=1_000).trials
        for s in (1, 60, 36_000)
    ]
    assert tried[0] == {}
    assert tried[1].keys() == {"item_knn"}
    assert tried[2].keys() == {"item_knn", "sasrec"}


def test_pictures_are_learnt_where_that_is_paid_for_and_a_student_of_them_where_more_is():
    recipe = Recipe("recommend", ("popular", "image"), ("popular",), "NDCG@10")
    nothing = ("",) * 1_000
    unknown = np.full(1_000, np.nan)
    ids = np.array([f"p{n}" for n in range(1_000)])
    catalogue = Catalogue(ids, *(nothing,) * 5, unknown, unknown, unknown, images=("x.png",) * 1_000)
    seen = TrainingData(catalogue)  # 20 s an epoch
    paid = [plan_training(recipe, seen, TrainingPlan(budget_seconds=s)).settings["image"] for s in (300, 400, 800)]
    assert paid == [{"epochs": 0.0}, {"epochs": 7.0}, {"epochs": 7.0, "student": 8.0}]


def test_few_users_cannot_tell_settings_apart():
    assert plan_training(RECIPE, past(10_000), TrainingPlan(budget_seconds=3_600), validation_users=999).trials == {}


def test_what_a_person_set_stays():
    plan = plan_training(RECIPE, past(10_000), TrainingPlan(budget_seconds=3_600, settings={"sasrec": {"epochs": 3.0}}))
    assert plan.settings["sasrec"] == {"epochs": 3.0}


def test_queries_are_taught_from_own_ones_and_from_made_ones_only_where_time_is_plenty():
    nothing = np.full(1, np.nan)
    catalogue = Catalogue(np.array(["a"]), ("a",), ("",), ("",), ("",), ("",), nothing, nothing, nothing)
    judged = Judgments(tuple(f"q{n}" for n in range(300)), np.zeros(300, np.int32), np.ones(300, np.float32))
    search = Recipe("search", ("bm25", "text", "popular"), ("bm25",), "NDCG@10")
    own = TrainingData(catalogue, judgments=judged)
    made = TrainingData(catalogue)
    assert plan_training(search, own, TrainingPlan(budget_seconds=3_600)).settings == {
        "text": {"epochs": 4.0, "teacher": 2.0}
    }
    assert plan_training(search, own, TrainingPlan(budget_seconds=1_200)).settings == {"text": {"epochs": 4.0}}
    assert plan_training(search, own, TrainingPlan(budget_seconds=10)).settings == {}
    assert plan_training(search, made, TrainingPlan(budget_seconds=1_200)).settings == {}
    assert plan_training(search, made, TrainingPlan(budget_seconds=7_200)).settings == {"text": {"epochs": 1.0}}


def labelled(rows: int, positives: int) -> TrainingData:
    """A table of forty numbers with so many yes."""
    label = np.zeros(rows)
    label[:positives] = 1.0
    columns = {f"c{number}": np.arange(rows, dtype=float) % (number + 2) for number in range(40)}
    return TrainingData(table=LabelledTable(columns, label))


def test_a_table_gets_folds_first_and_trials_of_boosted_trees_where_it_has_rows_to_judge_them():
    few = labelled(rows=1_000, positives=300)
    many = labelled(rows=5_000, positives=300)
    plenty = TrainingPlan(budget_seconds=600)
    assert plan_training(PREDICT, few, plenty).folds == 5
    assert plan_training(PREDICT, few, plenty).trials == {}
    assert plan_training(PREDICT, many, plenty).trials == {"boosted": 40}
    assert plan_text(plan_training(PREDICT, many, plenty)).endswith("a table in 5 folds, 40 trials of boosted")
    hardly_any = plan_training(PREDICT, many, TrainingPlan(budget_seconds=1))
    assert hardly_any.folds == 1
    assert hardly_any.trials == {}


def test_a_label_that_a_fold_may_lack_leaves_one_fold():
    assert plan_training(PREDICT, labelled(rows=1_000, positives=19), TrainingPlan()).folds == 1
    assert plan_training(PREDICT, labelled(rows=1_000, positives=20), TrainingPlan()).folds == 5


def test_trees_that_are_not_wanted_are_not_searched():
    plan = plan_training(PREDICT, labelled(rows=5_000, positives=300), TrainingPlan(without=("boosted",)))
    assert plan.trials == {}


def test_without_events_there_is_nothing_to_plan():
    assert plan_training(RECIPE, TrainingData(), TrainingPlan()) == TrainingPlan()


@given(st.floats(1, 1e5), st.floats(1, 1e5))
def test_more_time_never_means_less_learning(a, b):
    log = past(20_000)
    less, more = (plan_training(RECIPE, log, replace(TrainingPlan(), budget_seconds=s)) for s in sorted((a, b)))
    for name in ("sasrec", "gru"):
        assert more.settings.get(name, {}).get("epochs", 0) >= less.settings.get(name, {}).get("epochs", 0)
