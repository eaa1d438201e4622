"""Tells people what happened and what they can do about it, once: in the log, and wherever ``[alerts] urls`` point."""

import logging

from vetrina.pipeline.workshop import Workshop
from vetrina.store import alerted

_LOG = logging.getLogger("vetrina.alerts")


def alert(workshop: Workshop, key: str, text: str, next_step: str) -> bool:
    """Send ``text`` with its ``next_step`` unless the same ``key`` was sent not long ago. True if it went out."""
    chosen = workshop.shop.settings.alerts
    whole = f"{text}. Next: {next_step}"
    if not alerted.claim(workshop.engine, key, whole, chosen.quiet_hours * 3_600):
        return False
    _LOG.warning("%s", whole)
    if chosen.urls:
        import apprise

        channels = apprise.Apprise()
        refused = [url.split("://", 1)[0] for url in chosen.urls if not channels.add(url)]
        if refused or not channels.notify(title="Vetrina", body=whole):
            _LOG.error("an alert could not be sent (%s)", ", ".join(refused) or "no channel took it")
    return True
