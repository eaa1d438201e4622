"""Which alerts were sent when, so that the same one is not sent again and again."""

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.core import clock
from vetrina.store.tables import alerts


def claim_alert(engine: Engine, key: str, text: str, repeat_interval_seconds: float) -> bool:
    """True for the one caller that may send it now; False when it was sent within ``quiet_seconds``."""
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
    except IntegrityError:  # another one claimed it at the same moment
        return False


def sent_alerts(engine: Engine) -> list[str]:
    """What was sent, oldest first."""
    with engine.connect().execution_options(read_only=True) as connection:
        return list(connection.execute(select(alerts.c.text).order_by(alerts.c.time)).scalars())
