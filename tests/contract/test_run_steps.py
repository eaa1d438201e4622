"""The steps of a run on every database: an interrupted run resumes after its last finished step, with the same results."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from vetrina.bundle.manifest import Bundle, TrainingRecord
from vetrina.core import clock
from vetrina.core.errors import Conflict
from vetrina.core.keys import Keys, load_or_create
from vetrina.core.version import BUNDLE_FORMAT, VERSION
from vetrina.pipeline.steps import StoredJournal
from vetrina.store.database import open_store
from vetrina.store.run_steps import StepResultStore, delete_step_results
from vetrina.store.runs import RunStore
from vetrina.store.tables import run_steps

STEPS = ("fit", "gate", "release")
MOMENTS = ("inside the step", "before its result is committed", "after its result is committed")


@dataclass(frozen=True)
class Result:
    """What a step returns: text, numbers, a file, and notes of any kind."""

    step: str
    number: float
    file: Path
    notes: dict[str, Any] = field(default_factory=dict)


@pytest.fixture
def keys(tmp_path) -> Keys:
    """A shop's keys."""
    return load_or_create(tmp_path / "keys")


@pytest.fixture
def engine(url, keys) -> Iterator[Engine]:
    """An open store."""
    opened = open_store(url, keys)
    yield opened
    opened.dispose()


@pytest.fixture
def results(engine, keys) -> StepResultStore:
    """Results of a run."""
    return StepResultStore(engine, keys, "r1", 1)


def walk(results: StepResultStore, done: list[str]) -> list[Result]:
    """A path of three steps that does nothing but say so."""

    def work(step: str) -> Result:
        done.append(step)
        return Result(step, float("inf"), Path("/shop") / step, {"weights": {3: [0.5, None]}})

    journal = StoredJournal(results)
    return [journal.step(step, Result, lambda step=step: work(step)) for step in STEPS]


def test_a_finished_step_is_not_done_again_and_gives_the_same_result(results):
    done: list[str] = []
    first = walk(results, done)
    assert walk(results, done) == first
    assert first[0] == Result("fit", float("inf"), Path("/shop/fit"), {"weights": {3: [0.5, None]}})
    assert done == list(STEPS)


def test_a_step_that_fails_is_done_again(results):
    def refuse() -> int:
        raise ValueError("no data")

    journal = StoredJournal(results)
    with pytest.raises(ValueError, match="no data"):
        journal.step("fit", int, refuse)
    assert journal.step("fit", int, lambda: 7) == 7


def test_large_results_are_kept_whole(results):
    record = TrainingRecord(models={"image": {"misfiled": ["é" * 1_000] * 300}})
    bundle = Bundle("d" * 64, "recommend", {f"part {n}": "0" * 64 for n in range(100)}, record)
    assert StoredJournal(results).step("train served", Bundle, lambda: bundle) == bundle


def test_of_two_processes_that_do_the_same_step_the_first_result_counts(results):
    journal = StoredJournal(results)

    def slow() -> int:
        return journal.step("fit", int, lambda: 1) + 1  # the other process ends first

    assert journal.step("fit", int, slow) == 1
    assert journal.step("fit", int, lambda: 3) == 1


@pytest.mark.parametrize(
    "change",
    [{"result": b"\x01"}, {"code_version": "0.1.0"}, {"signature": "00" * 64}, {"step": "gate"}],
    ids=["content", "version", "signature", "place"],
)
def test_a_row_that_was_changed_is_refused_in_a_line_and_the_step_is_done_again(engine, results, caplog, change):
    journal = StoredJournal(results)
    journal.step("fit", bool, lambda: True)
    with engine.begin() as connection:
        connection.execute(update(run_steps).values(**change))
    step = change.get("step", "fit")
    assert journal.step(step, bool, lambda: False) is False
    assert journal.step(step, bool, lambda: True) is False
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [f"step {step} is done again"]


@pytest.mark.parametrize("code_version", ["0.1.0", f"{VERSION} format {BUNDLE_FORMAT - 1}"])
def test_a_result_of_another_version_or_bundle_format_is_not_used(results, code_version):
    StoredJournal(results).step("fit", bool, lambda: True)
    stored = results.get("fit")
    results.remove("fit")
    results.add("fit", replace(stored, code_version=code_version))
    assert StoredJournal(results).step("fit", bool, lambda: False) is False


def test_a_result_of_another_type_is_not_used(results):
    StoredJournal(results).step("fit", str, lambda: "a text")
    assert StoredJournal(results).step("fit", int, lambda: 7) == 7


def test_another_attempt_begins_anew(engine, keys, results):
    StoredJournal(results).step("fit", int, lambda: 1)
    assert StoredJournal(StepResultStore(engine, keys, "r1", 2)).step("fit", int, lambda: 2) == 2


def test_results_are_deleted_some_time_after_the_run_has_ended(engine, keys):
    queue = RunStore(engine)
    ended = queue.enqueue("recommend", "a test")
    running = queue.enqueue("search", "a test")
    for run in (ended, running):
        queue.start(run)
        StoredJournal(StepResultStore(engine, keys, run, 1)).step("fit", int, lambda: 1)
    queue.finish(ended, "done", "")
    delete_step_results(engine, clock.now() - clock.DAY)
    assert count(engine) == 2
    delete_step_results(engine, clock.now() + 1)
    assert count(engine) == 1
    assert StepResultStore(engine, keys, running, 1).get("fit") is not None


def test_a_run_that_is_cancelled_as_it_starts_stays_cancelled(engine, monkeypatch):
    queue = RunStore(engine)
    run = queue.enqueue("recommend", "a test")
    real_now = clock.now

    def cancel_meanwhile() -> float:
        monkeypatch.setattr(clock, "now", real_now)
        queue.cancel(run)
        return real_now()

    monkeypatch.setattr(clock, "now", cancel_meanwhile)
    with pytest.raises(Conflict, match="is cancelled"):
        queue.start(run)
    queue.retry(run)
    for _ in range(2):  # the second time as an interrupted one
        queue.start(run)
    with pytest.raises(Conflict, match="is running"):
        queue.retry(run)
    assert queue.get_run(run).attempts == 2


def count(engine: Engine) -> int:
    """How many results are stored."""
    with engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(run_steps)).scalar_one()


KILLED_PATH = """
import os
import signal
import sys
from pathlib import Path

from sqlalchemy import event

from vetrina.pipeline.steps import StoredJournal
from vetrina.core.keys import load_or_create
from vetrina.store.database import open_store
from vetrina.store.run_steps import StepResultStore

url, folder, last_step, moment, *steps = sys.argv[1:]
keys = load_or_create(Path(folder) / "keys")
engine = open_store(url, keys)
journal = StoredJournal(StepResultStore(engine, keys, "r1", 1))


def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def work(step):
    with (Path(folder) / "done").open("a") as log:
        log.write(step + "\\n")
    if step == last_step and moment.startswith("inside"):
        die()
    if step == last_step and moment.startswith("before"):
        event.listen(engine, "commit", die)
    return step.upper()


for step in steps:
    journal.step(step, str, lambda: work(step))
    if step == last_step and moment.startswith("after"):
        die()
"""


@pytest.mark.kills
@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("last_step", STEPS)
def test_a_killed_run_resumes_after_its_last_finished_step(url, tmp_path, keys, last_step, moment):
    command = [sys.executable, "-c", KILLED_PATH, url, str(tmp_path), last_step, moment, *STEPS]
    assert subprocess.run(command, check=False).returncode == -9
    engine = open_store(url, keys)
    journal = StoredJournal(StepResultStore(engine, keys, "r1", 1))
    done: list[str] = []
    results = [journal.step(step, str, lambda step=step: done.append(step) or step.upper()) for step in STEPS]
    engine.dispose()
    at = STEPS.index(last_step)
    is_finished = moment.startswith("after")
    assert results == ["FIT", "GATE", "RELEASE"]
    assert (tmp_path / "done").read_text().split() == list(STEPS[: at + 1])
    assert done == list(STEPS[at + is_finished :])
