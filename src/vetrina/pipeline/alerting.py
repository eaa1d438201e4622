"""Tells people what happened and what they can do about it, once: in the log, and wherever ``[alerts] urls`` point."""

import logging

from vetrina.pipeline.shop_context import ShopContext
from vetrina.store import alert_log

_LOG = logging.getLogger("vetrina.alerts")


def send_alert(shop_context: ShopContext, key: str, text: str, next_step: str) -> bool:
    """Send ``text`` with its ``next_step`` unless the same ``key`` was sent not long ago. True if it went out."""
    chosen = shop_context.folder.settings.alerts
    whole = f"{text}. Next: {next_step}"
    if not alert_log.claim_alert(shop_context.engine, key, whole, chosen.repeat_interval_hours * 3_600):
        return False
    _LOG.warning("%s", whole)
    if chosen.urls:
        import apprise

        channels = apprise.Apprise()
        refused = [url.split("://", 1)[0] for url in chosen.urls if not channels.add(url)]
        if refused or not channels.notify(title="Vetrina", body=whole):
            _LOG.error("an alert could not be sent (%s)", ", ".join(refused) or "no channel took it")
    return True
