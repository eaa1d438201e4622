"""The report of a version: verdict, live releases, compression, data checks, quality and model card.

A single HTML file without scripts.
"""

import time
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from vetrina.api.shop import Shop
from vetrina.core.data_report import CheckResult
from vetrina.core.files import write_bytes
from vetrina.core.tuning_result import BlendWeights
from vetrina.core.verdicts import Reason, Verdict
from vetrina.reports.audience_section import audience_section
from vetrina.reports.compression_section import compression_section, read_compression_trials
from vetrina.reports.cost import Cost, ServingCost, cost, serving_cost
from vetrina.reports.model_card import model_card
from vetrina.reports.prediction_section import prediction_section
from vetrina.reports.quality import load_quality
from vetrina.reports.quality_section import quality_section
from vetrina.scenarios.base import AudienceScenario, PredictionScenario, find_scenario
from vetrina.store.registry import Version
from vetrina.store.rollouts import DecisionRecord, RolloutSummary

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid #dde;padding:.4rem .6rem;text-align:left;vertical-align:top}
.pass{color:#0a6b3d}.fail{color:#a31621}.warn{color:#8a5a00}figure{margin:1rem 0}svg{max-width:100%;height:auto}
"""


def write_version_page(shop: Shop, version: str) -> Path:
    """Write ``reports/<version>.html`` and return its path. Raises NotFound for an unknown version."""
    record = shop.shop_context.registry.get_version(version)
    training = record.training
    trials_file = shop.folder.reports / f"{version}.forms.json"
    trials = read_compression_trials(trials_file, training.compression_trials)
    sections = [
        _header(record),
        _cost_line(cost(shop.shop_context, version)),
        _serving_cost_line(serving_cost(shop.shop_context, version)),
        _verdict_section(record.verdict),
        _rollout_section(shop, version),
        compression_section(trials),
        _blend_section(training.tuning.weights),
        _miscategorised_section(training.models),
        _data_section(shop, record.scenario),
        *_scenario_sections(shop, record),
        model_card(record),
    ]
    head = f"<meta charset='utf-8'><title>{version}</title><style>{_STYLE}</style>"
    page = f"<!doctype html><html lang='en'>{head}{''.join(sections)}"
    target = shop.folder.reports / f"{version}.html"
    write_bytes(target, page.encode())
    return target


def _scenario_sections(shop: Shop, record: Version) -> list[str]:
    """Sections that depend on what the scenario answers with."""
    scenario = find_scenario(record.scenario)
    if isinstance(scenario, PredictionScenario):
        return [prediction_section(shop, scenario, record)]
    sections = []
    if isinstance(scenario, AudienceScenario):
        sections.append(audience_section(shop, scenario, record))
    learning_curves = record.training.tuning.report.get("learning", {})
    sections.append(quality_section(load_quality(shop, record.name), learning_curves))
    return sections


def _header(record: Version) -> str:
    release = record.release
    return (
        f"<h1>{escape(record.name)}</h1>"
        f"<p>{escape(record.scenario)}, {escape(release.outcome)} in mode "
        f"<b>{escape(release.mode)}</b>: {escape(release.note)}. Snapshot {record.snapshot[:12]}.</p>"
    )


def _cost_line(cost: Cost | None) -> str:
    if cost is None:
        return ""
    return (
        f"<p>Training took {cost.seconds:,.0f} s, {cost.cpu_seconds:,.0f} CPU-seconds (about {cost.watt_hours:.2f} Wh) and at "
        f"most {cost.peak_mb:,.0f} MB of memory; {cost.storage_mb:,.1f} MB on disk.</p>"
    )


def _serving_cost_line(cost: ServingCost | None) -> str:
    if cost is None:
        return ""
    price = ""
    if cost.price_per_million is not None:
        price = f" and {cost.price_per_million:,.4g} in money"
    return (
        f"<p>A million answers take {cost.cpu_seconds_per_million:,.0f} CPU-seconds of the service, about "
        f"{cost.watt_hours_per_million:,.2f} Wh{price} (measured over {cost.answers:,} answers).</p>"
    )


def _verdict_section(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    rows = ""
    for reason in verdict.reasons:
        mark = _outcome_mark(reason.passed, reason.evaluable)
        rows += f"<tr><td>{mark}</td><td>{escape(reason.text)}</td></tr>"
    note = ""
    detectable_loss = verdict.smallest_visible_loss
    if detectable_loss:
        note = f"<p>Smallest loss that this holdout can detect: {detectable_loss:.1%}.</p>"
    return f"<h2>Verdict: {escape(verdict.outcome)}</h2><table>{rows}</table>{note}"


def _rollout_section(shop: Shop, version: str) -> str:
    """Every decision about the live releases of this version, with its reasons."""
    rollouts = shop.shop_context.rollouts
    head = "<tr><th>time<th>share<th>decision<th>reasons</tr>"
    tables = []
    for release in rollouts.list_rollouts():
        if release.candidate != version:
            continue
        rows = "".join(_decision_row(entry) for entry in rollouts.decision_log(release.release))
        summary = f"{_kind_text(release)} since {_format_time(release.started)}: {escape(release.state)}."
        tables.append(f"<p>{summary}</p><table>{head}{rows}</table>")
    if not tables:
        return ""
    return f"<h2>Live releases</h2>{''.join(tables)}"


def _kind_text(release: RolloutSummary) -> str:
    champion = escape(release.champion)
    if release.kind == "watch":
        return f"Watched, with {champion} before it on {1 - release.share:.0%} of users,"
    return f"Against {champion}"


def _decision_row(entry: DecisionRecord) -> str:
    reasons = "<br>".join(_reason_line(reason) for reason in entry.decision.reasons)
    return (
        f"<tr><td>{_format_time(entry.now)}</td><td>{entry.rollout.candidate_share:.0%}</td>"
        f"<td>{escape(entry.decision.action)}</td><td>{reasons}</td></tr>"
    )


def _reason_line(reason: Reason) -> str:
    return f"{_outcome_mark(reason.passed, reason.evaluable)} {escape(reason.text)}"


def _outcome_mark(passed: bool, evaluable: bool) -> str:
    if not evaluable:
        return "<span class='warn'>not evaluable</span>"
    word = "pass" if passed else "fail"
    return f"<span class='{word}'>{word}</span>"


def _format_time(seconds: float) -> str:
    """Local date and time of seconds since 1970."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _blend_section(weights_by_placement: BlendWeights) -> str:
    rows = ""
    for placement, weights in weights_by_placement.items():
        text = ", ".join(f"{model} {weight:g}" for model, weight in weights.items())
        rows += f"<tr><td>{escape(placement)}</td><td>{escape(text)}</td></tr>"
    return f"<h2>Blend weights</h2><table>{rows}</table>"


def _miscategorised_section(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """Products that a model's cross-validated classifier puts into another category by their images."""
    products = []
    for report in reports.values():
        products += report.get("misfiled", [])
    if not products:
        return ""
    rows = ""
    for product in products:
        rows += (
            f"<tr><td>{escape(product['product_id'])}</td><td>{escape(product['filed'])}</td>"
            f"<td>{escape(product['looks_like'])}</td><td>{product['chance']:.1%}</td></tr>"
        )
    head = "<tr><th>product<th>category<th>predicted category<th>probability</tr>"
    return f"<h2>Probably miscategorised, by image</h2><table>{head}{rows}</table>"


def _data_section(shop: Shop, scenario: str) -> str:
    rows = "".join(_check_row(check) for check in shop.validate(scenario).checks)
    head = "<tr><th><th>check<th>rows<th>first<th>meaning<th>action</tr>"
    return f"<h2>Data</h2><table>{head}{rows}</table>"


def _check_row(check: CheckResult) -> str:
    meaning = check.meaning if check.count else ""
    return (
        f"<tr><td class='{check.status.lower()}'>{check.status}</td><td>{escape(check.name)}</td><td>{check.count:,}</td>"
        f"<td>{escape(check.first)}</td><td>{escape(meaning)}</td><td>{escape(check.done)}</td></tr>"
    )
