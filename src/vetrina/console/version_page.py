"""One page about one version: verdict, compression, data checks, curves. A single HTML file without scripts."""

import time
from html import escape
from pathlib import Path
from typing import Any

from vetrina.console.audience_section import audience_section
from vetrina.console.compression_section import compression_section, read_compression_trials
from vetrina.console.model_card import model_card
from vetrina.console.prediction_section import prediction_section
from vetrina.console.quality_section import quality_section
from vetrina.core.files import write_bytes
from vetrina.core.types import Reason
from vetrina.pipeline.api import Shop
from vetrina.pipeline.cost import Cost, cost
from vetrina.pipeline.quality import load_quality

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
td,th{border-bottom:1px solid #dde;padding:.4rem .6rem;text-align:left;vertical-align:top}
.pass{color:#0a6b3d}.fail{color:#a31621}.warn{color:#8a5a00}figure{margin:1rem 0}svg{max-width:100%;height:auto}
"""


def write_version_page(shop: Shop, version: str) -> Path:
    """Write ``reports/<version>.html`` and return its path. Raises NotFound for an unknown version."""
    shown = shop.shop_context.registry.get_version(version)
    parts = [
        _header(shown),
        _cost_line(cost(shop.shop_context, version)),
        _verdict_section(shown["verdict"]),
        _rollout_section(shop, version),
        compression_section(
            read_compression_trials(shop.folder.reports / f"{version}.forms.json", shown["notes"]["compression"])
        ),
        _blend_section(shown),
    ]
    parts.append(_miscategorised_section(shown["notes"]["models"].get("image", {})))
    parts.append(_data_section(shop, shown["scenario"]))
    if shown["scenario"] == "launch":
        parts.append(audience_section(shop, shown))
    if shown["scenario"] == "predict":
        parts.append(prediction_section(shop, shown))
    else:
        parts.append(
            quality_section(load_quality(shop, version), shown["notes"]["settled"]["notes"].get("learning", {}))
        )
    parts.append(model_card(shown))
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{version}</title><style>{_STYLE}</style>{''.join(parts)}"
    target = shop.folder.reports / f"{version}.html"
    write_bytes(target, page.encode())
    return target


def _header(version_record: dict[str, Any]) -> str:
    release = version_record["notes"]["release"]
    return (
        f"<h1>{escape(version_record['version'])}</h1>"
        f"<p>{escape(version_record['scenario'])}, {escape(release['outcome'])} in mode "
        f"<b>{escape(release['mode'])}</b>: {escape(release['note'])}. Snapshot {version_record['snapshot'][:12]}.</p>"
    )


def _cost_line(cost: Cost | None) -> str:
    if cost is None:
        return ""
    return (
        f"<p>Made in {cost.seconds:,.0f} s with {cost.cpu_seconds:,.0f} CPU-seconds (about {cost.watt_hours:.2f} Wh) and at "
        f"most {cost.peak_mb:,.0f} MB of memory; {cost.storage_mb:,.1f} MB on disk.</p>"
    )


def _verdict_section(verdict: dict[str, Any] | None) -> str:
    if verdict is None:
        return ""
    rows = "".join(
        f"<tr><td>{_outcome_mark(r['passed'], r.get('evaluable', True))}</td><td>{escape(r['text'])}</td></tr>"
        for r in verdict["reasons"]
    )
    seen = verdict["smallest_visible_loss"]
    note = f"<p>The smallest loss that this holdout could have shown: {seen:.1%}.</p>" if seen else ""
    return f"<h2>Verdict: {escape(verdict['outcome'])}</h2><table>{rows}</table>{note}"


def _rollout_section(shop: Shop, version: str) -> str:
    """Every decision about the releases of this version, with what spoke for or against it."""
    parts = []
    for release in shop.shop_context.rollouts.list_rollouts():
        if release["candidate"] != version:
            continue
        rows = "".join(
            f"<tr><td>{_format_time(entry.now)}</td><td>{entry.rollout.canary_share:.0%}</td><td>{escape(entry.decision.action)}</td>"
            f"<td>{'<br>'.join(_reason_line(r) for r in entry.decision.reasons)}</td></tr>"
            for entry in shop.shop_context.rollouts.decision_log(release["release"])
        )
        said = f"Against {escape(release['champion'])} since {_format_time(release['started'])}: {escape(release['state'])}."
        head = "<tr><th>when<th>share<th>decision<th>because</tr>"
        parts.append(f"<p>{said}</p><table>{head}{rows}</table>")
    return f"<h2>Among shoppers</h2>{''.join(parts)}" if parts else ""


def _reason_line(reason: Reason) -> str:
    return f"{_outcome_mark(reason.passed, reason.evaluable)} {escape(reason.text)}"


def _outcome_mark(passed: bool, evaluable: bool) -> str:
    if not evaluable:
        return "<span class='warn'>not evaluable</span>"
    word = "pass" if passed else "fail"
    return f"<span class='{word}'>{word}</span>"


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _blend_section(version_record: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(', '.join(f'{m} {w:g}' for m, w in weights.items()))}</td></tr>"
        for name, weights in version_record["notes"]["settled"]["weights"].items()
    )
    return f"<h2>Blend, chosen on validation</h2><table>{rows}</table>"


def _miscategorised_section(notes: dict[str, Any]) -> str:
    """Products whose pictures speak against their category."""
    found = notes.get("misfiled", [])
    if not found:
        return ""
    rows = "".join(
        f"<tr><td>{escape(f['product_id'])}</td><td>{escape(f['filed'])}</td><td>{escape(f['looks_like'])}</td>"
        f"<td>{f['chance']:.1%}</td></tr>"
        for f in found
    )
    head = "<tr><th>product<th>filed under<th>looks like<th>chance</tr>"
    return f"<h2>Perhaps filed wrongly, by their pictures</h2><table>{head}{rows}</table>"


def _data_section(shop: Shop, scenario: str) -> str:
    rows = "".join(
        f"<tr><td class='{c.status.lower()}'>{c.status}</td><td>{escape(c.name)}</td><td>{c.count:,}</td>"
        f"<td>{escape(c.first)}</td><td>{escape(c.meaning if c.count else '')}</td><td>{escape(c.done)}</td></tr>"
        for c in shop.validate(scenario).checks
    )
    head = "<tr><th><th>check<th>rows<th>first<th>meaning<th>done</tr>"
    return f"<h2>Data</h2><table>{head}{rows}</table>"
