"""The path of the data, and the table of contents of the product. Read this first."""

from vetrina.core.types import InputFiles, ReleaseResult
from vetrina.pipeline.run import Run
from vetrina.pipeline.shop_context import ShopContext


def path(shop_context: ShopContext, source: InputFiles, scenario: str) -> ReleaseResult | None:
    """From files to a served version of one scenario. None when there was nothing new to do."""
    snapshot = shop_context.ingest(source)
    report = shop_context.validate(snapshot, scenario)
    run = Run(shop_context, snapshot, scenario)
    if not report.is_ok or run.is_done():
        return None
    tuned = run.train_and_compress_on_fit()
    judged = run.refit_on_fit_and_validation(tuned)
    verdict = run.gate_on_holdout(judged)
    if run.is_beaten_by_baseline(verdict):  # the dull model ships: it may win like any other
        tuned = run.fall_back_to_baseline(tuned, verdict)
        judged = run.refit_on_fit_and_validation(tuned)
        verdict = run.gate_on_holdout(judged)
    served = run.refit_on_all_data(tuned, judged) if verdict.may_release else judged
    return run.release(served, judged, run.check_served_file(served, judged, verdict))
    # Among shoppers rollout.py moves it on and vetrina.serve follows; monitor and retrain close the circle in loop.py.
