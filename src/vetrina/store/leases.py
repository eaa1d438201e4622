"""Leases with fencing tokens, for leader election."""

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.store.database import database_time, read
from vetrina.store.tables import leases

CONTROLLER_LEASE = "operate"  # of the controller that leads; its renewals are the controller's heartbeat


class Lease:
    """A named lease that at most one holder has at a time; it expires unless it is renewed.

    Only the database's clock counts, so those of the machines need not agree.

    Args:
        engine: The store.
        name: Name of the lease.
        holder: Unique name of this holder.
        seconds: Time after which the lease expires.
    """

    def __init__(self, engine: Engine, name: str, holder: str, seconds: float) -> None:
        self._engine = engine
        self._name = name
        self._holder = holder
        self._seconds = seconds

    def acquire_or_renew(self) -> int | None:
        """Acquire or renew the lease.

        Returns:
            The fence, which grows whenever the lease changes hands; None while another holder has the lease.
        """
        query = select(leases).where(leases.c.name == self._name).with_for_update()
        try:
            with self._engine.begin() as connection:
                row = connection.execute(query).first()
                now = database_time(connection)
                renewal = {"holder": self._holder, "expires": now + self._seconds}
                if row is None:
                    connection.execute(insert(leases).values(name=self._name, fence=1, **renewal))
                    return 1
                is_own = row.holder == self._holder
                # One that ends later than a new one would was taken before the database's clock was set back.
                is_expired = row.expires <= now or row.expires > now + self._seconds
                if not is_own and not is_expired:
                    return None
                fence = row.fence if is_own and not is_expired else row.fence + 1
                connection.execute(update(leases).where(leases.c.name == self._name).values(fence=fence, **renewal))
                return fence
        except IntegrityError:
            # Two holders have found no row; the other one was first.
            return None

    def holder(self) -> str | None:
        """The current holder; None if the lease has expired."""
        query = select(leases.c.holder, leases.c.expires).where(leases.c.name == self._name)
        with read(self._engine) as connection:
            row = connection.execute(query).first()
            if row is None or row.expires <= database_time(connection):
                return None
            return row.holder

    def release(self) -> None:
        """Let the lease expire at once, if this holder has it."""
        is_own = (leases.c.name == self._name, leases.c.holder == self._holder)
        with self._engine.begin() as connection:
            connection.execute(update(leases).where(*is_own).values(expires=0.0))


def read_heartbeat(engine: Engine, name: str) -> float | None:
    """A number that every renewal of a lease changes; None where nobody ever held it."""
    query = select(leases.c.expires).where(leases.c.name == name)
    with read(engine) as connection:
        return connection.execute(query).scalar()
