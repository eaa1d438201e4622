"""What a budget pays for: relations that hold whatever the models' costs are, on made-up models and on those that are there."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vetrina.core.labelled_tables import LabelledTable
from vetrina.core.training_cost import (
    BudgetShare,
    EpochPlan,
    ModelCost,
    SearchedTableFitCost,
    TableFitCost,
    Workload,
)
from vetrina.core.types import Catalogue, Interactions, Judgments, TrainingData, TrainingPlan
from vetrina.model_selection.budget_planner import plan_text, plan_training
from vetrina.models.base import costs_of
from vetrina.nn.next_item.cost import SequenceNetworkCost

NETWORKS = {"good": SequenceNetworkCost(1.0), "fair": SequenceNetworkCost(0.8)}
ENOUGH_USERS = 1_000


class SearchedCost(ModelCost):
    """A trial takes so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def trial_seconds(self, workload: Workload) -> float | None:
        return self._seconds


class EpochCost(ModelCost):
    """An epoch takes a second, and ten are enough."""

    share = BudgetShare("epochs", 0.5)

    def plan_epochs(self, workload: Workload, seconds: float, is_first: bool) -> EpochPlan:
        epochs = min(10, int(seconds))
        if not epochs:
            return EpochPlan(is_left_out=True)
        return EpochPlan({"epochs": float(epochs)}, float(epochs))


class UsedEpochCost(EpochCost):
    """The same, of a model that others are made of."""

    is_used_by_others = True


def past(lines: int, products: int = 500, length: int = 10) -> TrainingData:
    """Users with ``length`` events each, one after the other."""
    user = (np.arange(lines) // length).astype(np.int32)
    item = (np.arange(lines) * 7 % products).astype(np.int32)
    names = np.array([f"u{n}" for n in range(int(user.max()) + 1)])
    time = np.arange(lines, dtype=float)
    return TrainingData(None, Interactions(names, user, item, time, np.ones(lines, np.float32), float(lines)))


def catalogue(products: int, images: int = 0) -> Catalogue:
    nothing = ("",) * products
    unknown = np.full(products, np.nan)
    ids = np.array([f"p{n}" for n in range(products)])
    files = ("x.png",) * images + ("",) * (products - images)
    return Catalogue(ids, *(nothing,) * 5, unknown, unknown, unknown, images=files)


def of_seconds(seconds: float, **settings) -> TrainingPlan:
    return TrainingPlan(budget_seconds=seconds, **settings)


def test_models_that_share_a_part_of_the_budget_spend_it_in_their_order():
    costs = {"a": EpochCost(), "b": EpochCost(), "c": EpochCost()}
    plan = plan_training(costs, past(100), of_seconds(30))
    assert plan.settings == {"a": {"epochs": 10.0}, "b": {"epochs": 5.0}}
    assert plan.without == ("c",)


def test_what_is_left_out_spends_nothing_unless_others_are_made_of_it():
    excluded = of_seconds(20, without=("a",))
    assert plan_training({"a": EpochCost(), "b": EpochCost()}, past(100), excluded).settings == {"b": {"epochs": 10.0}}
    used = {"a": UsedEpochCost(), "b": EpochCost()}
    assert plan_training(used, past(100), excluded).settings == {"a": {"epochs": 10.0}}
    searched = {"a": SearchedCost(0.1)}
    assert plan_training(searched, past(100), of_seconds(1_000), ENOUGH_USERS).trials
    assert not plan_training(searched, past(100), of_seconds(1_000, without=("a",)), ENOUGH_USERS).trials


def test_cheap_models_are_tried_first_and_none_too_seldom_to_find_anything():
    costs = {"dear": SearchedCost(10.0), "cheap": SearchedCost(0.01)}
    tried = [plan_training(costs, past(100), of_seconds(s), ENOUGH_USERS).trials for s in (0.1, 60, 36_000)]
    assert [list(trials) for trials in tried] == [[], ["cheap"], ["cheap", "dear"]]


def test_few_users_cannot_tell_settings_apart():
    costs = {"cheap": SearchedCost(0.01)}
    assert not plan_training(costs, past(100), of_seconds(3_600), ENOUGH_USERS - 1).trials


def test_what_a_person_set_stays():
    plan = plan_training({"a": EpochCost()}, past(100), of_seconds(100, settings={"a": {"epochs": 3.0, "rate": 1.0}}))
    assert plan.settings == {"a": {"epochs": 3.0, "rate": 1.0}}


def test_a_model_that_declares_no_cost_is_neither_searched_nor_planned_nor_left_out():
    plan = plan_training({"a": ModelCost()}, past(100), of_seconds(1), ENOUGH_USERS)
    assert plan.settings == plan.trials == {}
    assert plan.without == ()


def test_without_events_there_is_nothing_to_plan():
    assert plan_training(NETWORKS, TrainingData(), TrainingPlan()) == TrainingPlan()


def test_plenty_of_time_pays_for_all_networks_and_hardly_any_for_none_and_the_text_says_so():
    rich = plan_training(NETWORKS, past(10_000), of_seconds(3_600), ENOUGH_USERS)
    assert rich.without == ()
    assert rich.settings["good"] == rich.settings["fair"]
    assert rich.trials.keys() == NETWORKS.keys()
    assert plan_text(rich).startswith("plan for 60 minutes: good ")
    poor = plan_training(NETWORKS, past(200_000), of_seconds(5))
    assert plan_text(poor) == "plan for 0 minutes: no networks; left out: good, fair"


def test_the_first_network_may_be_trained_for_less_and_the_others_fully_or_not_at_all():
    log = past(200_000)
    plans = [plan_training(NETWORKS, log, of_seconds(float(seconds))) for seconds in range(10, 1_500, 60)]
    full = plans[-1].settings["good"]["epochs"]
    assert {plan.settings.get("fair", {}).get("epochs") for plan in plans} == {None, full}
    assert len({plan.settings.get("good", {}).get("epochs") for plan in plans}) > 2


@given(st.floats(1, 1e5), st.floats(1, 1e5))
def test_more_time_never_means_less_learning(a, b):
    log = past(20_000)
    less, more = (plan_training(NETWORKS, log, of_seconds(seconds)) for seconds in sorted((a, b)))
    for name in NETWORKS:
        assert more.settings.get(name, {}).get("epochs", 0) >= less.settings.get(name, {}).get("epochs", 0)


def test_images_are_learnt_fully_or_not_and_a_student_of_them_where_more_is_paid():
    costs = costs_of(("popular", "image"))
    seen = TrainingData(catalogue(1_000, images=1_000))
    planned = [plan_training(costs, seen, of_seconds(float(s))).settings["image"] for s in range(100, 1_000, 60)]
    assert planned[0] == {"epochs": 0.0}
    assert {settings["epochs"] for settings in planned} == {0.0, planned[-1]["epochs"]}
    assert "student" in planned[-1]
    assert any(settings["epochs"] and "student" not in settings for settings in planned)
    assert not plan_training(costs, TrainingData(catalogue(1_000)), of_seconds(1_000)).settings


def test_queries_are_learnt_from_own_ones_and_from_synthetic_ones_only_where_time_is_plenty():
    costs = costs_of(("bm25", "text", "popular"))
    judged = Judgments(tuple(f"q{n}" for n in range(300)), np.zeros(300, np.int32), np.ones(300, np.float32))
    own = TrainingData(catalogue(1), judgments=judged)
    synthetic = TrainingData(catalogue(1))

    def planned(data: TrainingData, seconds: float) -> set[str]:
        return set(plan_training(costs, data, of_seconds(seconds)).settings.get("text", {}))

    assert [planned(own, seconds) for seconds in (10, 1_200, 3_600)] == [set(), {"epochs"}, {"epochs", "teacher"}]
    assert [planned(synthetic, seconds) for seconds in (10, 1_200, 7_200)] == [set(), set(), {"epochs"}]


TABLE_MODELS = {"dear": SearchedTableFitCost(0.3, 3e-7), "cheap": TableFitCost(0.01, 1e-7)}


def labelled(rows: int, positives: int) -> TrainingData:
    """A table of forty numbers with so many yes."""
    label = np.zeros(rows)
    label[:positives] = 1.0
    columns = {f"c{number}": np.arange(rows, dtype=float) % (number + 2) for number in range(40)}
    return TrainingData(table=LabelledTable(columns, label))


def test_a_table_gets_folds_first_and_trials_where_it_has_rows_to_judge_them():
    few = labelled(rows=1_000, positives=300)
    many = labelled(rows=5_000, positives=300)
    plenty = of_seconds(600)
    assert plan_training(TABLE_MODELS, few, plenty).folds == 5
    assert not plan_training(TABLE_MODELS, few, plenty).trials
    assert plan_training(TABLE_MODELS, many, plenty).trials.keys() == {"dear"}
    assert plan_text(plan_training(TABLE_MODELS, many, plenty)).endswith("a table in 5 folds, 40 trials of dear")
    hardly_any = plan_training(TABLE_MODELS, many, of_seconds(1))
    assert hardly_any.folds == 1
    assert not hardly_any.trials
    assert not plan_training(TABLE_MODELS, many, replace(plenty, without=("dear",))).trials


@pytest.mark.parametrize(("positives", "folds"), [(19, 1), (20, 5)])
def test_a_label_that_a_fold_may_lack_leaves_one_fold(positives, folds):
    assert plan_training(TABLE_MODELS, labelled(1_000, positives), TrainingPlan()).folds == folds
