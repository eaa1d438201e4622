"""Alerts to the log and to the channels in ``[alerts] urls``, deduplicated by key."""

import logging

from vetrina.pipeline.shop_context import ShopContext
from vetrina.store import alert_log

_LOG = logging.getLogger("vetrina.alerts")


def send_alert(shop_context: ShopContext, key: str, text: str, next_step: str) -> bool:
    """Send an alert unless one with the same key was sent within the repeat interval.

    Args:
        shop_context: The shop.
        key: Names what the alert is about.
        text: What happened.
        next_step: What a person can do about it.

    Returns:
        Whether it was sent.
    """
    settings = shop_context.folder.settings.alerts
    message = f"{text}. Next: {next_step}"
    repeat_seconds = settings.repeat_interval_hours * 3_600
    if not alert_log.claim_alert(shop_context.engine, key, message, repeat_seconds):
        return False
    _LOG.warning("%s", message, extra={"alert": key})
    if settings.urls:
        import apprise

        channels = apprise.Apprise()
        refused_schemes = [url.split("://", 1)[0] for url in settings.urls if not channels.add(url)]
        if refused_schemes or not channels.notify(title="Vetrina", body=message):
            cause = ", ".join(refused_schemes) or "no channel accepted it"
            _LOG.error("an alert could not be sent (%s)", cause)
    return True
