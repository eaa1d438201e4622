"""Recipe and training plan of a run: the scenario's own, with what the shop's settings change."""

import math
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec

from vetrina.core.errors import BadInput
from vetrina.core.files import digest_of, write_bytes
from vetrina.core.settings import Settings, TrainSettings
from vetrina.core.training_plan import Compute, Recipe, TrainingPlan
from vetrina.core.version import BUNDLE_FORMAT, VERSION
from vetrina.data import dataset
from vetrina.engines import check_compute
from vetrina.models.base import find_trainable_model
from vetrina.pipeline.shop_context import ShopContext
from vetrina.scenarios.base import Scenario

_RECIPE_DIGEST_LENGTH = 24  # hex digits
_EXTERNAL_MODEL_DIGEST_LENGTH = 32  # hex digits


def full_recipe(scenario: Scenario, settings: Settings) -> Recipe:
    """The scenario's recipe with the models that the settings add. Raises BadInput for an unknown model."""
    added = scenario.added_models(settings)
    for name in (*added, *settings.train.exclude_models):
        find_trainable_model(name)  # an unknown name is refused before anything starts
    models = dict.fromkeys((*scenario.recipe.models, *added))
    return replace(scenario.recipe, models=tuple(models))


def quick_recipe(scenario: Scenario) -> Recipe:
    """The scenario's recipe with the models and hyper-parameters of its quick one. Raises ValueError where it has none."""
    quick = scenario.quick_recipe
    if quick is None:
        raise ValueError(f"{scenario.name} has no quick recipe")
    return replace(scenario.recipe, models=quick.models, settings=quick.hyperparameters)


def base_plan(shop_context: ShopContext, scenario: Scenario, recipe: Recipe) -> TrainingPlan:
    """The training plan as the settings say, before the budget planner.

    Args:
        shop_context: The shop, with the run's budget and threads where they are given.
        scenario: What is trained.
        recipe: Its recipe, whose hyper-parameters are used.

    Raises:
        BadInput: The shop's own model file does not exist, or the engine or the device cannot be used.
        NotFound: The version to warm-start from is unknown.
    """
    settings = shop_context.folder.settings
    train_settings = settings.train
    halvings = 0
    if shop_context.run_id:
        halvings = shop_context.runs.get_run(shop_context.run_id).halvings
    budget_minutes = shop_context.budget_minutes or train_settings.budget_minutes
    compute = compute_of(shop_context)
    check_compute(compute)
    return TrainingPlan(
        seed=train_settings.seed,
        budget_seconds=60.0 * budget_minutes,
        threads=shop_context.threads or train_settings.threads,
        without=_excluded_models(scenario, settings),
        halvings=halvings,
        warm=train_settings.warm_start,
        settings={**settings.transfer.to_dict(), **recipe.settings},
        begin_before=_warm_start_before(shop_context),
        encoder=train_settings.encoder,
        goal=settings.predict.goal,
        optimiser=train_settings.optimiser,
        loss=train_settings.loss,
        foreign=_external_model_file(shop_context, scenario),
        foreign_inputs=settings.predict.onnx_inputs,
        image_hosts=settings.ingest.image_hosts,
        compute=compute,
    )


def compute_of(shop_context: ShopContext) -> Compute:
    """Where a run of the shop is computed: as the settings say, with the engine of the command line where it names one."""
    settings = shop_context.folder.settings.train
    engine = shop_context.training_engine or settings.engine
    folder = str(shop_context.folder.work / "ray")
    return Compute(engine, settings.workers, settings.ray_address, settings.device, folder)


def recipe_digest(recipe: Recipe, plan: TrainingPlan, settings: Settings) -> str:
    """Hash of what shapes the result besides the data: code version, bundle format, recipe and settings."""
    # Where it is computed does not shape the result.
    defaults = TrainSettings()
    train_settings = msgspec.structs.replace(
        settings.train,
        engine=defaults.engine,
        workers=defaults.workers,
        ray_address=defaults.ray_address,
        device=defaults.device,
    )
    text = f"{VERSION} {BUNDLE_FORMAT} {recipe} {train_settings} {settings.weights}"
    text += f" {plan.budget_seconds}"
    if plan.goal:
        text += f" {plan.goal}"
    if settings.transfer.to_dict():
        text += f" {settings.transfer}"
    if plan.foreign:
        text += f" {Path(plan.foreign).name} {plan.foreign_inputs}"  # the name is a hash of the content
    return sha256(text.encode()).hexdigest()[:_RECIPE_DIGEST_LENGTH]


def full_recipe_digest(shop_context: ShopContext, scenario: Scenario) -> str:
    """Hash of what shapes the result of a run of the full recipe besides the data."""
    settings = shop_context.folder.settings
    recipe = full_recipe(scenario, settings)
    return recipe_digest(recipe, base_plan(shop_context, scenario, recipe), settings)


def _excluded_models(scenario: Scenario, settings: Settings) -> tuple[str, ...]:
    """Models that the settings exclude. Baselines stay, the gate needs them; so does what a scenario cannot do without."""
    if not scenario.drops_unweighted_models:
        return ()
    return tuple(model for model in settings.train.exclude_models if model not in scenario.recipe.baselines)


def _warm_start_before(shop_context: ShopContext) -> float:
    """Only fits on data that end at this moment or earlier are warm-started from: the data of the version that the settings
    name. Infinite where they name none."""
    version = shop_context.folder.settings.train.warm_start_from
    if not version:
        return math.inf
    record = shop_context.registry.get_version(version)
    cuts = dataset.open_snapshot(shop_context.folder.snapshots, record.snapshot).cuts
    if cuts is None:
        return 0.0
    return cuts.end


def _external_model_file(shop_context: ShopContext, scenario: Scenario) -> str:
    """A copy of the shop's own ONNX model, named by its content so that another file is another plan; empty without one."""
    folder = shop_context.folder
    setting = scenario.external_model(folder.settings)
    if not setting:
        return ""
    file = folder.root / setting
    if not file.is_file():
        raise BadInput(f"[predict] onnx {setting!r}", "is no file", "give its path, from the shop's folder on")
    digest = digest_of(file)[:_EXTERNAL_MODEL_DIGEST_LENGTH]
    copy = folder.work / "foreign" / f"{digest}.onnx"
    if not copy.exists():
        write_bytes(copy, file.read_bytes())
    return str(copy)
