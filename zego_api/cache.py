"""The cache on Redis or Valkey, which never holds a request up for long and never fails one.

What is in it may be lost at any moment, so a server that is away is a cache that holds nothing. Its
first user waits SECONDS for it, and for PAUSE after that nobody does.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, TypeVar

import redis
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.backoff import NoBackoff
from redis.retry import Retry

from zego_api.breaker import Breaker

SECONDS = 0.2  # for a connection, and for an answer
PAUSE = 5.0
Result = TypeVar("Result")


@cache
def pool(url: str) -> redis.ConnectionPool:
    """This process's connections to a server. (Django's own would be one thread's, or one task's.)"""
    return redis.ConnectionPool.from_url(
        url,
        socket_connect_timeout=SECONDS,
        socket_timeout=SECONDS,
        retry=Retry(NoBackoff(), 0),
        protocol=2,  # 3 adds questions to the handshake, and each may have to be waited for
        driver_info=None,
    )


@cache
def breaker(url: str) -> Breaker:
    """What this process knows about a server's health."""
    return Breaker("redis", PAUSE)


def attempt(url: str, ask: Callable[[], Result], otherwise: Result) -> Result:
    """What `ask` gets from the server, or `otherwise` while that is away or unable (full, loading)."""
    if breaker(url).is_open:
        return otherwise
    try:
        return ask()
    except redis.RedisError as error:
        breaker(url).trip(error)
        return otherwise


class _Client(RedisCacheClient):
    """Where the server is away, a read finds nothing and a write is forgotten."""

    def __init__(self, servers: list[str], **options: Any) -> None:
        super().__init__(servers, **options)
        self._url = servers[0]

    def get_client(self, key: Any = None, *, write: bool = False) -> redis.Redis:
        return redis.Redis(connection_pool=pool(self._url))

    def add(self, key: Any, value: Any, timeout: Any) -> bool:
        """True where nobody can tell: who uses this as a lock must not wait for it in vain."""
        return attempt(self._url, partial(super().add, key, value, timeout), True)

    def get(self, key: Any, default: Any) -> Any:
        return attempt(self._url, partial(super().get, key, default), default)

    def set(self, key: Any, value: Any, timeout: Any) -> None:
        attempt(self._url, partial(super().set, key, value, timeout), None)

    def touch(self, key: Any, timeout: Any) -> bool:
        return attempt(self._url, partial(super().touch, key, timeout), False)

    def delete(self, key: Any) -> bool:
        return attempt(self._url, partial(super().delete, key), False)

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        return attempt(self._url, partial(super().get_many, keys), {})

    def has_key(self, key: Any) -> bool:
        return attempt(self._url, partial(super().has_key, key), False)

    def incr(self, key: Any, delta: int) -> Any:
        """Raises ValueError, as for any key that is not there."""
        value = attempt(self._url, partial(super().incr, key, delta), None)
        if value is None:
            raise ValueError("The cache is away, so the key is not in it.")
        return value

    def set_many(self, data: Mapping[Any, Any], timeout: Any) -> None:
        attempt(self._url, partial(super().set_many, data, timeout), None)

    def delete_many(self, keys: Iterable[Any]) -> None:
        attempt(self._url, partial(super().delete_many, keys), None)

    def clear(self) -> bool:
        return attempt(self._url, super().clear, False)


class ForgivingRedisCache(RedisCache):
    """Django's Redis cache, on one server whose outages are misses."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _Client
