"""Log of sent alerts, for deduplication."""

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.core import clock
from vetrina.store.database import read
from vetrina.store.tables import alerts


def claim_alert(engine: Engine, key: str, text: str, repeat_interval_seconds: float) -> bool:
    """Record that an alert is sent now, unless it was sent recently.

    Args:
        engine: The store.
        key: Identifies the alert.
        text: Text of the alert.
        repeat_interval_seconds: The same alert is sent at most once within this time.

    Returns:
        True for the one caller that may send it.
    """
    now = clock.now()
    try:
        with engine.begin() as connection:
            row = connection.execute(select(alerts).where(alerts.c.key == key).with_for_update()).first()
            if row is None:
                connection.execute(insert(alerts).values(key=key, time=now, text=text))
                return True
            if now - row.time < repeat_interval_seconds:
                return False
            connection.execute(update(alerts).where(alerts.c.key == key).values(time=now, text=text))
            return True
    except IntegrityError:
        # Another process has claimed the alert at the same time.
        return False


def sent_alerts(engine: Engine) -> list[str]:
    """Texts of the alerts that were sent, oldest first."""
    query = select(alerts.c.text).order_by(alerts.c.time)
    with read(engine) as connection:
        return list(connection.execute(query).scalars())
