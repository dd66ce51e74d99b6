"""How often something may be done. Counted in Redis or Valkey, whose outage lets everything through."""

import ipaddress
import json
from functools import cache, partial

import limits
import structlog
from allauth.account.adapter import get_adapter
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from zego_api.cache import attempt, pool

log = structlog.get_logger(__name__)

UNKNOWN = "unknown"
_HOST_BITS = 64  # of an IPv6 address: whoever has one has all that differ in these
_parse = cache(limits.parse)


def allow(limit: str, *key: str, cost: int = 1) -> bool:
    """Count one more of what `key` names, and say whether `limit`, such as "30/minute", has room for it.

    The first part of the key says what is counted. The key never leaves the process in clear, since
    there may be an email or an address in it. What is refused does not count.
    """
    url = settings.REDIS_URL
    return attempt(url, partial(_limiter(url).hit, _parse(limit), _hashed(key), cost=cost), True)


def client_network(request: HttpRequest) -> str:
    """The address that limits count by: an IPv4 address, an IPv6 network of 2^64, or UNKNOWN."""
    try:
        address = ipaddress.ip_address(get_adapter(request).get_client_ip(request))
    except (ImproperlyConfigured, PermissionDenied, ValueError) as error:
        # One that is not where TRUSTED_PROXY_COUNT says: such requests share one count.
        log.warning("client_address_unknown", error=type(error).__name__)
        return UNKNOWN
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> _HOST_BITS << _HOST_BITS, _HOST_BITS)))


@cache
def _limiter(url: str) -> SlidingWindowCounterRateLimiter:
    """Two counters a key, whatever the limit, kept by the server's clock; nothing is asked yet."""
    storage = RedisStorage(url, connection_pool=pool(url), key_prefix="zego:limits")
    return SlidingWindowCounterRateLimiter(storage)


def _hashed(key: tuple[str, ...]) -> str:
    return salted_hmac("zego_api.limits", json.dumps(key), algorithm="sha256").hexdigest()
