"""Leases with fencing tokens, for leader election."""

from sqlalchemy import Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from vetrina.core import clock
from vetrina.store.tables import leases

CONTROLLER_LEASE = "operate"  # of the controller that leads; its renewals are the controller's heartbeat


class Lease:
    """A named lease that at most one holder has at a time; it expires unless it is renewed.

    The clocks of machines that share a store must agree to a few seconds.

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
        now = clock.now()
        renewal = {"holder": self._holder, "expires": now + self._seconds}
        query = select(leases).where(leases.c.name == self._name).with_for_update()
        try:
            with self._engine.begin() as connection:
                row = connection.execute(query).first()
                if row is None:
                    connection.execute(insert(leases).values(name=self._name, fence=1, **renewal))
                    return 1
                is_own = row.holder == self._holder
                is_expired = row.expires <= now
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
        query = select(leases.c.holder).where(leases.c.name == self._name, leases.c.expires > clock.now())
        with self._engine.connect().execution_options(read_only=True) as connection:
            return connection.execute(query).scalar()

    def release(self) -> None:
        """Let the lease expire at once, if this holder has it."""
        is_own = (leases.c.name == self._name, leases.c.holder == self._holder)
        with self._engine.begin() as connection:
            connection.execute(update(leases).where(*is_own).values(expires=0.0))


def read_heartbeat(engine: Engine, name: str) -> float | None:
    """A number that every renewal of a lease changes; None where nobody ever held it."""
    query = select(leases.c.expires).where(leases.c.name == name)
    with engine.connect().execution_options(read_only=True) as connection:
        return connection.execute(query).scalar()
