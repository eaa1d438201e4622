"""The path of the data, and the table of contents of the product. Read this first."""

from vetrina.core.types import Release, Source
from vetrina.pipeline.compose import Run
from vetrina.pipeline.workshop import Workshop


def path(workshop: Workshop, source: Source, scenario: str) -> Release | None:
    """From files to a served version of one scenario. None when there was nothing new to do."""
    snapshot = workshop.ingest(source)
    report = workshop.validate(snapshot, scenario)
    run = Run(workshop, snapshot, scenario)
    if not report.ok or run.is_done():
        return None
    tuned = run.train_and_compress_on_fit()
    judged = run.repeat_on_fit_and_validation(tuned)
    verdict = run.gate_on_holdout(judged)
    if run.lost_to_a_baseline(verdict):  # the dull model ships: it may win like any other
        tuned = run.baseline_that_won(tuned, verdict)
        judged = run.repeat_on_fit_and_validation(tuned)
        verdict = run.gate_on_holdout(judged)
    served = run.repeat_on_everything(tuned, judged) if verdict.may_release else judged
    return run.release(served, judged, run.inspect(served, judged, verdict))
    # Among shoppers rollout.py moves it on and vetrina.serve follows; monitor and retrain close the circle in loop.py.
