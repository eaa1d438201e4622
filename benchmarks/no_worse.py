"""Paired comparison of a commit with a reference commit: is what it serves no worse?

    python -m benchmarks.no_worse [COMMIT] [--reference 42da3d8] [--only NAME]... [--cache DIR]

Without COMMIT the working tree is compared, uncommitted changes included. Exit status 0: the rule holds for every row;
1: it is broken; 2: something could not be run.

Rule: NDCG@10 of the candidate is at most 0.5 % (relative) below that of the reference, and the lower bound of the two-sided
95 % interval of the relative difference lies above -1.5 %. Interval: percentile bootstrap over users or queries, the same
draws for both commits; 10,000 draws, seed 42.

Protocol, the same for both commits: each shop is fresh, has the same fixed key (so that pseudonyms, and what depends on their
order, are the same), the settings below (one thread) and the same budget. `ingest`, `run` and a batch of `recommend` or `search`
run in processes of their own, by the command line, with the source of that commit. The clock of these processes starts at the
cut of the data, and stands still while requests are answered. Lists of ten out of the whole catalogue.

demo     Complete Journey, 92,331 products; trained on purchases before 2017-12-18; targets are the distinct products that a
         household bought from then on (never sold before: missed); households with purchases on both sides; binary gains. The
         budget of 10 minutes pays for three epochs of sasrec.
beauty   Amazon Beauty; the last product of each user is the target, all before it is training data, a step a day (the files
         hold no times); 6,000 of the 22,363 users, seed 42; binary gains. A user's history is left out of the list where the
         data say so, as in any shop. The budget of 20 minutes pays for sasrec and gru.
chorus   Chorus electronics, 19,406 products, no events; the 81 queries with a relevant product; gain 2**grade - 1, products
         without a judgment gain nothing. No judgments are ingested: default weights.
chorus-judged  the same with judgments: queries fall into two halves by hash, and each half is answered by a shop that was
         trained with the judgments of the other; both halves are one row.

Equal code gives equal lists, so a refactoring shows a difference of exactly 0. With 81 queries a small difference cannot be
distinguished from none: there an interval that reaches below -1.5 % asks for a closer look, not for luck with another key.

Cost in CPU-minutes of one version: demo 16, beauty 15, chorus 5, chorus-judged 9; so 45 minutes on two idle cores for two
versions, and half of that where the lists of the reference are in the cache.

The lists of a commit (not those of the working tree) are kept in the cache folder, under the commit and a digest of data, key,
settings, budget and the packages that count. They hold for one kind of processor, because int8 does.
"""

import argparse
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib import metadata
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.data import MissingData, folder

REFERENCE = "42da3d8"
WORKING_TREE = "working tree"
ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "benchmarks" / "results" / "no_worse"

MOST_LOSS = 0.005  # relative, of the point
LOWEST_BOUND = -0.015  # relative, of the lower end of the interval
LEVEL = 0.95  # of the two-sided interval
DRAWS = 10_000
SEED = 42
K = 10

SETTINGS = """\
[train]
threads = 1

[gate]
latency_ms = 60000  # other work on the machine must not decide what is released
"""

DEMO_CUT = datetime(2017, 12, 18, tzinfo=UTC)
BEAUTY_END = datetime(2014, 7, 1, tzinfo=UTC)
BEAUTY_USERS = 6_000
CHORUS_DAY = datetime(2020, 1, 1, tzinfo=UTC)

# Runs the command line with a clock of its own: argument 1 is the time it starts at, argument 2 how fast it goes.
_WITH_CLOCK = """
import runpy, sys, time
begin = float(sys.argv.pop(1))
speed = float(sys.argv.pop(1))
started = time.monotonic()
time.time = lambda: begin + speed * (time.monotonic() - started)
runpy.run_module("vetrina.cli", run_name="__main__", alter_sys=True)
"""
_RUNNING = 1.0
_STANDING = 0.0
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
_FROM_OUTSIDE = ("VETRINA_SHOP", "VETRINA_CACHE")
_LINES_OF_A_FAILURE = 20
# Their versions may change what equal code answers.
_PACKAGES = (
    "faiss-cpu",
    "lightgbm",
    "numpy",
    "onnxruntime",
    "optuna",
    "polars",
    "scipy",
    "tantivy",
    "tokenizers",
    "torch",
)
_BATCH_OPTION = {"recommend": "--users", "search": "--queries"}
_TABLES = ("products", "events", "judgments")

Gains = dict[str, dict[str, float]]  # of each user or query: the gain of each target
Lists = Mapping[str, Sequence[str]]  # of each user or query: product ids, best first


class CommandFailed(Exception):
    """A command of one of the two versions, or of git, ended with an error."""


@dataclass(frozen=True)
class Trial:
    """One shop to be trained and queried.

    ``folder`` holds ``products.parquet``, perhaps ``events.parquet`` and ``judgments.parquet``, and for the comparison
    ``requests.parquet`` (one column, ``user_id`` or ``query``) and ``targets.parquet`` (that column, product_id, gain).
    """

    name: str
    scenario: str
    folder: Path
    budget: str
    now: float  # seconds since 1970

    def gains(self) -> Gains:
        """The targets of each request."""
        gains: Gains = {}
        for request, product, gain in pl.read_parquet(self.folder / "targets.parquet").rows():
            gains.setdefault(request, {})[product] = gain
        return gains

    def protocol(self) -> str:
        """One line to print before the figures."""
        day = datetime.fromtimestamp(self.now, UTC).date()
        how = f"{self.scenario}, --budget {self.budget}, one thread, clock from {day}"
        return f"{self.name}: {how}; NDCG@{K} of {len(self.gains()):,} requests; protocol and data {self.digest()[:12]}"

    def digest(self) -> str:
        """Changes with all that shapes the lists beside code, key and packages."""
        hashed = sha256(f"{self.scenario} {self.budget} {self.now} {K} {SETTINGS} {_WITH_CLOCK}".encode())
        for file in sorted(self.folder.glob("*.parquet")):
            content = sha256(file.read_bytes()).hexdigest()
            hashed.update(f"{file.name} {content}".encode())
        return hashed.hexdigest()


@dataclass(frozen=True)
class Source:
    """The code of one version: its name for people, the folder ``src``, and the whole commit id where it is a commit."""

    name: str
    src: Path
    commit: str | None


@dataclass(frozen=True)
class Difference:
    """Candidate against reference, relative to the mean of the reference, with the ends of the 95 % interval."""

    point: float
    low: float
    high: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare, print a line for each row, and leave with the exit status."""
    options = _options(arguments)
    try:
        verdicts = _compare(options)
    except (CommandFailed, MissingData) as failure:
        print(failure, file=sys.stderr)
        sys.exit(2)
    if not all(verdicts):
        sys.exit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.no_worse", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit", nargs="?", default=WORKING_TREE, help="the candidate (default: the working tree)")
    parser.add_argument("--reference", default=REFERENCE, help="the commit to compare with (default: %(default)s)")
    parser.add_argument("--only", choices=tuple(DATA_SETS), action="append", help="this data set; may be repeated")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for the lists of commits")
    parser.add_argument("--key", default="no_worse", help="text that the shop's key is made of (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="shops that are trained at a time (default: %(default)s)")
    return parser.parse_args(arguments)


def _compare(options: argparse.Namespace) -> list[bool]:
    """Whether the rule holds, for each row. Raises CommandFailed and MissingData."""
    with tempfile.TemporaryDirectory(prefix="no_worse-") as scratch:
        root = Path(scratch)
        reference = source_of(options.reference, root / "reference")
        candidate = source_of(options.commit, root / "candidate")
        print(f"candidate {candidate.name} against reference {reference.name}; key {options.key!r}", flush=True)
        rows: dict[str, list[Trial]] = {}
        for name in dict.fromkeys(options.only or DATA_SETS):
            rows |= DATA_SETS[name](root / "data" / name)
        for trial in chain(*rows.values()):
            print(trial.protocol(), flush=True)
        runner = _Runner(options.cache, options.key, root / "shops")
        tasks = [(source, trial) for trial in chain(*rows.values()) for source in (reference, candidate)]
        with ThreadPoolExecutor(options.jobs) as pool:
            pending = {task: pool.submit(runner.lists, *task) for task in tasks}
            try:
                return [
                    _print_row(
                        name,
                        [trial.gains() for trial in trials],
                        [pending[reference, trial].result() for trial in trials],
                        [pending[candidate, trial].result() for trial in trials],
                    )
                    for name, trials in rows.items()
                ]
            finally:
                pool.shutdown(cancel_futures=True)  # after a failure the rest need not start


def _print_row(name: str, gains: Sequence[Gains], reference: Sequence[Lists], candidate: Sequence[Lists]) -> bool:
    """Print the figures of all trials of a row together; whether the rule holds."""
    before: list[float] = []
    after: list[float] = []
    equal = 0
    for targets, old, new in zip(gains, reference, candidate, strict=True):
        before.extend(paired_ndcg(targets, old))
        after.extend(paired_ndcg(targets, new))
        equal += sum(list(old.get(request, ())) == list(new.get(request, ())) for request in targets)
    change = difference(np.array(after), np.array(before))
    verdict = "holds" if holds(change) else "BROKEN"
    interval = f"{change.point:+.2%} [{change.low:+.2%}, {change.high:+.2%}]"
    print(
        f"| {name:<28} | {len(before):>5} | reference {np.mean(before):.4f} | candidate {np.mean(after):.4f} "
        f"| {interval} | equal lists {equal / len(before):.1%} | {verdict} |",
        flush=True,
    )
    if not holds(change):
        rule = f"at most {MOST_LOSS:.1%} may be lost, and the lower bound must lie above {LOWEST_BOUND:.1%}"
        print(f"rule broken by {name}: {interval}; {rule}", flush=True)
    return holds(change)


def ndcg(ranked: Sequence[str], gains: Mapping[str, float], k: int = K) -> float:
    """NDCG@k (Jarvelin & Kekalainen 2002) of a list; a product that is listed twice counts once.

    Args:
        ranked: Product ids, best first.
        gains: The gain of each target; other products gain nothing.
        k: Positions that count.

    Returns:
        DCG with discount 1 / log2(1 + rank), divided by that of the best possible list; 0 where there is no target.
    """
    best = sorted(gains.values(), reverse=True)[:k]
    ideal = sum(gain / np.log2(1.0 + rank) for rank, gain in enumerate(best, start=1))
    if not ideal:
        return 0.0
    remaining = dict(gains)
    total = 0.0
    for rank, product in enumerate(ranked[:k], start=1):
        total += remaining.pop(product, 0.0) / np.log2(1.0 + rank)
    return float(total / ideal)


def paired_ndcg(gains: Gains, lists: Lists) -> NDArray[np.float64]:
    """NDCG@10 (requests,) in the order of ``gains``; a request without a list scores 0."""
    return np.array([ndcg(lists.get(request, ()), targets) for request, targets in gains.items()])


def difference(candidate: NDArray[np.float64], reference: NDArray[np.float64]) -> Difference:
    """Relative difference of two means over the same units, with its paired percentile bootstrap interval.

    Args:
        candidate: (units,) figures.
        reference: (units,) figures of the same units, in the same order.

    Returns:
        Point and interval of (mean(candidate) - mean(reference)) / mean(reference).

    Raises:
        ValueError: The figures are not of the same units, or the reference is 0 everywhere.
    """
    if candidate.shape != reference.shape or not len(reference):
        raise ValueError(f"{candidate.shape} figures cannot be paired with {reference.shape}")
    if not reference.mean() > 0.0:
        raise ValueError("the reference finds nothing, so nothing can be compared with it")
    rng = np.random.default_rng(SEED)
    units = len(reference)
    relative = np.empty(DRAWS)
    for draw in range(DRAWS):
        rows = rng.integers(0, units, units)
        # A draw may consist of units for which the reference finds nothing.
        base = reference[rows].mean() or reference.mean()
        relative[draw] = (candidate[rows].mean() - reference[rows].mean()) / base
    low, high = np.quantile(relative, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    point = (candidate.mean() - reference.mean()) / reference.mean()
    return Difference(float(point), float(low), float(high))


def holds(change: Difference) -> bool:
    """The rule: little is lost, and that much more is lost is ruled out."""
    return change.point >= -MOST_LOSS and change.low > LOWEST_BOUND


def source_of(commit: str, into: Path) -> Source:
    """The code of a commit, unpacked below ``into``; or a copy of the working tree. Raises CommandFailed."""
    if commit == WORKING_TREE:
        # A comparison takes long, and the tree may be worked on meanwhile.
        shutil.copytree(ROOT / "src", into / "src", ignore=shutil.ignore_patterns("__pycache__"))
        return Source(WORKING_TREE, into / "src", None)
    full = _git("rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}").decode().strip()
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", full, "src"))) as archive:
        archive.extractall(into, filter="data")
    return Source(full[:10], into / "src", full)


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


class _Runner:
    """Trains and queries shops, all with the same key, and keeps the lists of commits."""

    def __init__(self, cache: Path, key: str, work: Path) -> None:
        self._cache = cache
        self._key = key
        self._work = work
        packages = [f"{name}=={metadata.version(name)}" for name in _PACKAGES]
        self._environment = f"{sys.version} {' '.join(packages)}"

    def lists(self, source: Source, trial: Trial) -> Lists:
        """The lists of a version, from the cache where it holds them. Raises CommandFailed."""
        if source.commit is None:
            return _read_lists(self._train_and_query(source, trial))
        digest = sha256(f"{trial.digest()} {self._key} {self._environment}".encode()).hexdigest()[:16]
        file = self._cache / source.commit / f"{trial.name}-{digest}.parquet"
        if file.exists():
            print(f"{trial.name}: {source.name}: lists from {file}", flush=True)
            return _read_lists(file)
        made = self._train_and_query(source, trial)
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".tmp")
        shutil.copyfile(made, temporary)
        temporary.replace(file)
        return _read_lists(file)

    def _train_and_query(self, source: Source, trial: Trial) -> Path:
        """Lists of a fresh shop, as the batch command writes them."""
        root = Path(tempfile.mkdtemp(prefix=f"{trial.name}-", dir=_made(self._work)))
        shop = _made(root / "shop")
        (shop / "vetrina.toml").write_text(SETTINGS)
        write_keys(shop / "keys", self._key)
        tables: list[str] = []
        for name in _TABLES:
            file = trial.folder / f"{name}.parquet"
            if file.exists():
                tables += [f"--{name}", str(file)]
        lists = root / "lists.parquet"
        requests = [_BATCH_OPTION[trial.scenario], str(trial.folder / "requests.parquet")]
        cli = _CommandLine(source, trial, root)
        cli.call("ingest", *tables)
        cli.call("run", trial.scenario, "--budget", trial.budget, *cli.full_recipe_only())
        cli.call(trial.scenario, *requests, "--out", str(lists), "--limit", str(K), speed=_STANDING)
        return lists


class _CommandLine:
    """The command line of one version on one shop."""

    def __init__(self, source: Source, trial: Trial, root: Path) -> None:
        self._name = f"{trial.name}: {source.name}"
        self._now = trial.now
        self._root = root
        inherited = {name: value for name, value in os.environ.items() if name not in _FROM_OUTSIDE}
        threads = dict.fromkeys(_ONE_THREAD, "1")
        self._environment = {**inherited, **threads, "PYTHONPATH": str(source.src), "PYTHONHASHSEED": "0"}
        imported, _ = self._python("-c", "import vetrina; print(vetrina.__file__)")
        if not Path(imported).is_relative_to(source.src):
            raise CommandFailed(f"{self._name}: {imported} was imported instead of {source.src}")

    def full_recipe_only(self) -> list[str]:
        """The option that leaves out the quick recipe, for versions that have one: the full models are compared."""
        text, _ = self._python("-m", "vetrina.cli", "run", "--help")
        return ["--no-quick"] if "--no-quick" in text else []

    def call(self, *arguments: str, speed: float = _RUNNING) -> None:
        """Run one command and print what it cost. Raises CommandFailed with the last lines of the command."""
        started = time.perf_counter()
        clock = (str(self._now), str(speed))
        output, cpu_seconds = self._python(
            "-c", _WITH_CLOCK, *clock, "--shop-dir", str(self._root / "shop"), *arguments
        )
        seconds = time.perf_counter() - started
        first = output.partition("\n")[0]
        print(f"{self._name}: {arguments[0]} {seconds:.0f} s, {cpu_seconds:.0f} CPU-s: {first}", flush=True)

    def _python(self, *arguments: str) -> tuple[str, float]:
        """Standard output of a process, and the CPU-seconds of it and of those that it started."""
        output = self._root / "output"
        errors = self._root / "errors"
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self._root,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
            _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            lines = f"{output.read_text(errors='replace')}{errors.read_text(errors='replace')}".splitlines()
            last = "\n".join(lines[-_LINES_OF_A_FAILURE:])
            raise CommandFailed(f"{self._name}: exit status {process.returncode}\n{last}")
        return output.read_text().strip(), used.ru_utime + used.ru_stime


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read_lists(file: Path) -> Lists:
    frame = pl.read_parquet(file)
    request = frame.columns[0]
    ranked = frame.sort(request, "rank").group_by(request, maintain_order=True).agg("product_id")
    return dict(ranked.rows())


def write_keys(into: Path, text: str) -> None:
    """Make a shop's keys of a text: no secret, but the same pseudonyms on every machine."""
    into.mkdir(mode=0o700)
    for name in ("pseudonym.key", "sealing.key", "signing.key", "token"):
        digest = sha256(f"{text} {name}".encode())
        file = into / name
        file.write_bytes(digest.hexdigest().encode() if name == "token" else digest.digest())
        file.chmod(0o600)


def demo(into: Path) -> dict[str, list[Trial]]:
    """Complete Journey, cut at DEMO_CUT."""
    source = folder("complete-journey")
    into.mkdir(parents=True)
    sold = pl.read_parquet(source / "transactions.parquet").select(
        pl.col("transaction_timestamp").cast(pl.Datetime("us")).alias("timestamp"),
        pl.col("household_id").cast(pl.String).alias("user_id"),
        pl.lit("purchase").alias("type"),
        pl.col("product_id").cast(pl.String),
        pl.col("basket_id").cast(pl.String).alias("session_id"),
        pl.col("quantity").cast(pl.Float64),
        pl.when(pl.col("quantity") > 0).then(pl.col("sales_value") / pl.col("quantity")).alias("price"),
    )
    is_past = pl.col("timestamp") < DEMO_CUT.replace(tzinfo=None)
    past = sold.filter(is_past)
    past.write_parquet(into / "events.parquet")
    _demo_products(pl.read_parquet(source / "products.parquet"), past).write_parquet(into / "products.parquet")
    targets = (
        sold.filter(~is_past)
        .join(past.select("user_id").unique(), on="user_id", how="semi")
        .select("user_id", "product_id", pl.lit(1.0).alias("gain"))
        .unique()
        .sort("user_id", "product_id")
    )
    _write_targets(targets, into)
    return {"demo: recommend": [Trial("demo", "recommend", into, "10m", DEMO_CUT.timestamp())]}


def _demo_products(raw: pl.DataFrame, past: pl.DataFrame) -> pl.DataFrame:
    """Products with a title of their type and size, as the demo names them, and the median price until the cut."""
    price = past.group_by("product_id").agg(pl.col("price").median().round(2))
    kind = pl.coalesce("product_type", "product_category", "department")
    words = kind.str.replace_all(r"[/:\-\s]+", " ").str.to_lowercase().str.strip_chars()
    size = pl.col("package_size").str.to_lowercase()
    levels = [pl.col(level).str.to_titlecase() for level in ("department", "product_category", "product_type")]
    maker = pl.col("manufacturer_id").cast(pl.String)
    products = raw.select(
        pl.col("product_id").cast(pl.String),
        pl.concat_str([words, size], separator=", ", ignore_nulls=True).alias("title"),
        pl.concat_str(levels, separator=" > ", ignore_nulls=True).alias("category"),
        pl.concat_str(["brand", maker], separator=" ").alias("brand"),
    )
    return products.join(price, on="product_id", how="left", maintain_order="left")


def beauty(into: Path) -> dict[str, list[Trial]]:
    """Amazon Beauty, the last product of each user held back."""
    source = folder("amazon-beauty-5core")
    into.mkdir(parents=True)
    steps = (
        pl.read_parquet(source / "sequences.parquet")
        .with_columns(pl.col("item_ids").list.len().alias("steps"), pl.col("user_id").cast(pl.String))
        .explode("item_ids")
        .with_columns(
            pl.col("item_ids").cast(pl.String).alias("product_id"),
            (pl.col("steps") - 1 - pl.int_range(pl.len()).over("user_id")).alias("age"),
        )
    )
    day = (pl.lit(BEAUTY_END) - pl.duration(days="age")).dt.replace_time_zone(None)
    past = steps.filter(pl.col("age") > 0)
    events = past.select(day.alias("timestamp"), "user_id", pl.lit("purchase").alias("type"), "product_id")
    events.write_parquet(into / "events.parquet")
    id_text = pl.col("item_id").cast(pl.String)
    products = pl.read_parquet(source / "item_attributes.parquet").select(
        id_text.alias("product_id"),
        ("product " + id_text).alias("title"),
        pl.col("attribute_ids").cast(pl.List(pl.String)).list.join(" ").alias("attributes"),
    )
    products.write_parquet(into / "products.parquet")
    last = steps.filter(pl.col("age") == 0).select("user_id", "product_id", pl.lit(1.0).alias("gain"))
    sample = np.random.default_rng(SEED).permutation(len(last))[:BEAUTY_USERS]
    _write_targets(last[np.sort(sample)], into)
    return {"beauty: recommend": [Trial("beauty", "recommend", into, "20m", BEAUTY_END.timestamp())]}


def chorus(into: Path) -> dict[str, list[Trial]]:
    """Chorus electronics without judgments."""
    return {"chorus: search": [_chorus_trial("chorus", into, None, _judgments())]}


def chorus_judged(into: Path) -> dict[str, list[Trial]]:
    """Chorus electronics, each half of the queries with the judgments of the other."""
    judgments = _judgments()
    half = judgments["query"].map_elements(_half_of, return_dtype=pl.Int64)
    first = judgments.filter(half == 0)
    second = judgments.filter(half == 1)
    trials = [
        _chorus_trial("chorus-first-half", into / "first", second, first),
        _chorus_trial("chorus-second-half", into / "second", first, second),
    ]
    return {"chorus-judged: search": trials}


def _judgments() -> pl.DataFrame:
    judgments = pl.read_parquet(folder("chorus-electronics") / "judgments.parquet")
    return judgments.select("query", pl.col("doc_id").alias("product_id"), pl.col("rating").alias("grade"))


def _half_of(query: str) -> int:
    return sha256(query.encode()).digest()[0] % 2


def _chorus_trial(name: str, into: Path, training: pl.DataFrame | None, tested: pl.DataFrame) -> Trial:
    into.mkdir(parents=True)
    values = pl.col("attributes").list.eval(pl.element().struct.field("value")).list.join(" ")
    products = pl.read_parquet(folder("chorus-electronics") / "products.parquet").select(
        pl.col("doc_id").alias("product_id"),
        "title",
        pl.col("short_description").alias("description"),
        pl.col("supplier").alias("brand"),
        pl.concat_str(["name", values], separator=" ", ignore_nulls=True).alias("specification"),
        (pl.col("price_cents") / 100).alias("price"),
    )
    products.write_parquet(into / "products.parquet")
    if training is not None:
        training.write_parquet(into / "judgments.parquet")
    relevant = tested.filter(pl.col("grade") > 0)
    gain = (2.0 ** pl.col("grade") - 1.0).alias("gain")
    _write_targets(relevant.select("query", "product_id", gain), into)
    return Trial(name, "search", into, "20m", CHORUS_DAY.timestamp())


def _write_targets(targets: pl.DataFrame, into: Path) -> None:
    """Write the targets (user_id or query, product_id, gain) and the requests: those that have a target."""
    targets.write_parquet(into / "targets.parquet")
    request = targets.columns[0]
    targets.select(request).unique(maintain_order=True).write_parquet(into / "requests.parquet")


DATA_SETS: dict[str, Callable[[Path], dict[str, list[Trial]]]] = {
    "demo": demo,
    "beauty": beauty,
    "chorus": chorus,
    "chorus-judged": chorus_judged,
}


if __name__ == "__main__":
    main()
