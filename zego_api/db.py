"""Telling a database that is away from a statement that is wrong."""

from django.db import Error, InterfaceError, OperationalError, connection

# Classes of SQLSTATE in which the server, not the statement, is the trouble: connection lost,
# resources run out, operator intervention (shutdown, crash of another backend), I/O error.
_AWAY = {"08", "53", "58"}
# Those in which the statement lost a race or ran out of time: deadlock, lock, statement time-out.
_PASSING = {"40", "55", "57"}
_AWAY_CODES = {"57P01", "57P02", "57P03", "57P05", "25006", "25P03"}


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's five-character code of `error`, or None when the server sent none."""
    return getattr(error.__cause__, "pgcode", None)


def is_away(error: BaseException) -> bool:
    """Whether the database is away, whatever was asked of it.

    An OperationalError is not proof: "nested too deeply" (54001) is one too. No SQLSTATE at all means
    that the connection broke before the server answered.
    """
    code = sqlstate(error)
    if code is None:
        return isinstance(error, (OperationalError, InterfaceError))
    return code[:2] in _AWAY or code in _AWAY_CODES


def is_outage(error: BaseException) -> bool:
    """Whether the same request may succeed a moment later with nothing changed."""
    return is_away(error) or (sqlstate(error) or "")[:2] in _PASSING


def is_reachable() -> bool:
    """Whether the database answers a query now."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except Error:
        return False
    return True
