"""The data path of one scenario, and the table of contents of the product. Read this first.

Each line of ``path`` is one stage, and each stage is a package of that name: ``ingest``, ``validate``, ``train``, ``compress``,
``gate``, ``release``. ``run.py`` connects the stages to a shop and makes each a durable step.

The path ends where a release begins:

- ``serve`` answers requests with the released version,
- ``rollout_controller.py`` watches a promoted version, or moves a candidate from shadow through canary to champion, or back,
- ``monitor`` and ``retrain``, called by ``operate/health.py``, decide when the path is walked again,
- ``operate/controller.py`` runs all of this until stopped.
"""

from vetrina.core.snapshots import InputFiles
from vetrina.core.verdicts import ReleaseResult
from vetrina.pipeline.run import start_run
from vetrina.pipeline.shop_context import ShopContext


def path(shop_context: ShopContext, source: InputFiles, scenario: str) -> ReleaseResult | None:
    """From input files to a release decision for one scenario.

    Args:
        shop_context: The shop.
        source: Input files to add; what the service logged is added in any case.
        scenario: Name of a scenario.

    Returns:
        The release decision; None where the data does not support the scenario, or was already released or returned.
    """
    snapshot = shop_context.ingest(source)
    report = shop_context.validate(snapshot, scenario)
    # While nothing serves, this run releases a quick recipe of words or counts; the run after it trains the full one.
    run = start_run(shop_context, snapshot, scenario)
    if not report.is_ok or run.is_done():
        return None

    # Candidate: selected on validation data, fitted again with it, decided on held-out data.
    selected = run.train_and_compress_on_fit()
    judged = run.refit_on_fit_and_validation(selected)
    verdict = run.gate_on_holdout(judged)

    # A baseline is a candidate like any other where nothing serves yet.
    if run.is_beaten_by_baseline(verdict):
        selected = run.fall_back_to_baseline(selected, verdict)
        judged = run.refit_on_fit_and_validation(selected)
        verdict = run.gate_on_holdout(judged)

    # The served file has the newest data, too; it is checked, never scored.
    served = judged
    if verdict.may_release:
        served = run.refit_on_all_data(selected, judged)
    verdict = run.check_served_file(served, judged, verdict)
    return run.release(served, judged, verdict)
