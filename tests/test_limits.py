"""Limits and the cache behind those of sign-ins: they count, tell nobody what, and fail open."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog
from django.core.cache import cache
from django.core.cache.backends.redis import RedisCacheClient
from django.test import Client, RequestFactory
from pytest_django import Settings

from tests.running import empty_redis
from zego_api import cache as zego_cache
from zego_api import limits
from zego_api.local.servers import LocalValkey, free_port

End = Callable[[LocalValkey], None]
RECOVERY: dict[End, End] = {
    LocalValkey.stop: LocalValkey.start,
    LocalValkey.freeze: LocalValkey.thaw,
}
EMAIL = "driver@example.com"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that works may take its time here: this machine may have others to serve."""
    monkeypatch.setattr(zego_cache, "SECONDS", 2.0)
    yield
    zego_cache.pool.cache_clear()


@pytest.fixture
def redis_url(settings: Settings) -> Iterator[str]:
    """An empty database of the session's server, which the settings name."""
    with empty_redis(os.environ["REDIS_URL"]) as url:
        use(settings, url)
        yield url


@pytest.fixture
def valkey(tmp_path: Path, settings: Settings) -> Iterator[LocalValkey]:
    """A server to stop and freeze, which the settings name."""
    with LocalValkey(tmp_path / "valkey") as server:
        use(settings, server.url)
        yield server


def use(settings: Settings, url: str) -> None:
    settings.REDIS_URL = url
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": url}}


def the_pause_is_over() -> None:
    zego_cache.breaker.cache_clear()


def everything_in(url: str) -> str:
    """All keys, and all values of those that are plain."""
    with contextlib.closing(redis.Redis.from_url(url)) as client:
        keys: Any = client.keys()
        values: Any = client.mget(keys) if keys else []
        return f"{keys} {values}"


# Limits


def test_so_many_and_no_more(redis_url: str) -> None:
    assert [limits.allow("3/minute", "link", "ip", "192.0.2.1") for _ in range(5)] == [
        *[True] * 3,
        *[False] * 2,
    ]


def test_each_key_and_each_limit_counts_by_itself(redis_url: str) -> None:
    assert limits.allow("1/minute", "link", "ip", "a")
    assert limits.allow("1/minute", "link", "email", "a")
    assert limits.allow("1/minute", "link", "ip", "b")
    assert limits.allow("1/hour", "link", "ip", "a")
    assert limits.allow("1/minute", "linkip", "a"), "the parts of a key do not run together"
    assert not limits.allow("1/minute", "link", "ip", "a")


def test_some_things_cost_more(redis_url: str) -> None:
    assert limits.allow("10/minute", "x", cost=7)
    assert not limits.allow("10/minute", "x", cost=7)
    assert limits.allow("10/minute", "x", cost=3), "what was refused did not count"


def test_counts_are_shared_between_processes(redis_url: str) -> None:
    assert limits.allow("1/minute", "x")
    zego_cache.pool.cache_clear()
    limits._limiter.cache_clear()
    assert not limits.allow("1/minute", "x")


def test_neither_emails_nor_addresses_leave_the_process_in_clear(
    redis_url: str, settings: Settings
) -> None:
    limits.allow("1/minute", "link", "email", EMAIL)
    found = everything_in(redis_url)
    assert "zego:limits" in found
    assert "driver" not in found
    settings.SECRET_KEY = "another-key-" * 5
    assert limits.allow("1/minute", "link", "email", EMAIL), "nor can they be found by trying"


def test_what_is_counted_expires(redis_url: str) -> None:
    limits.allow("1/minute", "x")
    with contextlib.closing(redis.Redis.from_url(redis_url)) as client:
        keys: Any = client.keys()
        assert keys
        assert all(0 < client.ttl(key) <= 120 for key in keys)


@pytest.mark.outage
@pytest.mark.parametrize("end", RECOVERY)
def test_while_the_server_is_away_everything_is_allowed(end: End, valkey: LocalValkey) -> None:
    assert limits.allow("1/minute", "x")
    assert not limits.allow("1/minute", "x")
    end(valkey)
    with structlog.testing.capture_logs() as logs:
        assert all(limits.allow("1/minute", "x") for _ in range(50))
    assert [(line["event"], line["server"]) for line in logs] == [("server_away", "redis")]
    assert "x" not in str(logs[0].values())

    RECOVERY[end](valkey)
    assert limits.allow("1/minute", "x"), "it is left alone for a while"
    the_pause_is_over()
    limits.allow("1/minute", "x")
    assert not limits.allow("1/minute", "x")


def test_a_server_that_was_never_there_does_no_harm_either(settings: Settings) -> None:
    use(settings, f"redis://127.0.0.1:{free_port()}/0")
    assert limits.allow("1/minute", "x")
    assert limits.allow("1/minute", "x")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote", "network"),
    [
        (0, "198.51.100.1", "203.0.113.7", "203.0.113.7"),
        (1, "203.0.113.7", "10.0.0.1", "203.0.113.7"),
        (1, "198.51.100.1, 203.0.113.7", "10.0.0.1", "203.0.113.7"),
        (1, "198.51.100.1, 203.0.113.7:4711", "10.0.0.1", "203.0.113.7"),
        (1, None, "203.0.113.7", "203.0.113.7"),
        (2, "198.51.100.1, 203.0.113.7", "10.0.0.1", "198.51.100.1"),
        (2, "203.0.113.7", "10.0.0.1", "unknown"),
        (1, "nonsense", "10.0.0.1", "unknown"),
        (0, None, "", "unknown"),
        (0, None, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        (1, "2001:db8:1:2::1", "::1", "2001:db8:1:2::/64"),
        (0, None, "::ffff:203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_client_is_whom_our_own_proxies_name(
    proxies: int, forwarded: str | None, remote: str, network: str, settings: Settings
) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=remote)
    assert limits.client_network(request) == network


# The cache

OPERATIONS: dict[str, tuple[Callable[[], object], object]] = {
    "get": (lambda: cache.get("key"), None),
    "get with a default": (lambda: cache.get("key", "default"), "default"),
    "get_many": (lambda: cache.get_many(["key", "other"]), {}),
    "get_or_set": (lambda: cache.get_or_set("key", "made"), "made"),
    "has_key": (lambda: "key" in cache, False),
    "add": (lambda: cache.add("key", 1), True),
    "set": (lambda: cache.set("key", 1, timeout=60), None),
    "set_many": (lambda: cache.set_many({"key": 1}), []),
    "touch": (lambda: cache.touch("key"), False),
    "delete": (lambda: cache.delete("key"), False),
    "delete_many": (lambda: cache.delete_many(["key"]), None),
    "clear": (lambda: cache.clear(), False),  # noqa: PLW0108 (each test has a cache of its own)
}


def test_while_it_is_there_it_is_a_cache(redis_url: str) -> None:
    assert cache.add("key", [1, None])
    assert not cache.add("key", 2)
    assert cache.get("key") == [1, None]
    cache.set("count", 1)
    assert cache.incr("count") == 2
    assert cache.decr("count") == 1
    cache.set_many({"a": 1, "b": 2})
    assert cache.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}
    assert cache.touch("a")
    assert cache.delete("a")
    assert "a" not in cache
    cache.delete_many(["b"])
    cache.clear()
    assert everything_in(redis_url) == "[] []"


def test_every_operation_is_known_to_forgive() -> None:
    public = {name for name in vars(RedisCacheClient) if not name.startswith("_")} - {"get_client"}
    assert public <= set(vars(zego_cache._Client))


@pytest.mark.outage
@pytest.mark.parametrize("end", RECOVERY)
def test_a_cache_that_is_away_holds_nothing_and_is_asked_once(
    end: End, valkey: LocalValkey
) -> None:
    cache.set("key", "value")
    end(valkey)
    with structlog.testing.capture_logs() as logs:
        for name, (ask, otherwise) in OPERATIONS.items():
            assert ask() == otherwise, name
        for count in (cache.incr, cache.decr):
            with pytest.raises(ValueError, match="not in it"):
                count("key", 1)
    assert [line["event"] for line in logs] == ["server_away"]
    assert "key" not in str(logs[0].values())


@pytest.mark.outage
@pytest.mark.parametrize("name", OPERATIONS)
def test_whichever_operation_meets_the_outage_first(name: str, valkey: LocalValkey) -> None:
    ask, otherwise = OPERATIONS[name]
    valkey.stop()
    assert ask() == otherwise


@pytest.mark.outage
def test_it_is_used_again_when_it_is_back(valkey: LocalValkey) -> None:
    cache.set("key", "value")
    valkey.freeze()
    assert cache.get("key") is None
    valkey.thaw()
    assert cache.get("key") is None
    the_pause_is_over()
    assert cache.get("key") == "value"
    valkey.stop()
    valkey.start()
    cache.set("key", "other")
    assert cache.get("key") == "other", "connections to a server that restarted are made anew"


def test_one_that_is_full_is_as_good_as_away(valkey: LocalValkey) -> None:
    with contextlib.closing(redis.Redis.from_url(valkey.url)) as client:
        client.config_set("maxmemory", 1)
    cache.set("key", "value")
    assert cache.get("key") is None
    assert limits.allow("1/minute", "x")


def test_the_process_has_one_set_of_connections_that_never_wait_for_long(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    zego_cache.pool.cache_clear()
    made = zego_cache.pool(redis_url)
    assert zego_cache.pool(redis_url) is made
    connection: Any = made.make_connection()
    assert (connection.socket_timeout, connection.socket_connect_timeout) == (0.2, 0.2)
    assert connection.retry.get_retries() == 0


@pytest.mark.outage
@pytest.mark.django_db
@pytest.mark.parametrize("end", RECOVERY)
def test_signing_in_goes_on_without_the_cache(
    end: End, valkey: LocalValkey, client: Client
) -> None:
    """Its limits are django-allauth's, which take locks in the cache."""
    end(valkey)
    answer = client.post("/account/login/", {"login": EMAIL, "password": "wrong"})
    assert answer.status_code == 200
