"""Which store an address leads to."""

from __future__ import annotations

from functools import cache

from carcli.errors import UsageError
from carcli.stores.store import Store
from carcli.stores.url import EXTRAS, Url

_given: dict[str, Store] = {}


def give(scheme: str, store: Store) -> None:
    """Let addresses of a scheme lead to a store of the program's own, from now on."""
    _given[scheme] = store


def store_of(url: Url) -> Store:
    """The store that an address leads to. Raises ``UsageError`` where what speaks to it is not installed."""
    if url.scheme in _given:
        return _given[url.scheme]
    try:
        return _store(url.scheme)
    except ImportError as error:
        raise UsageError(f"{url}: what reads such addresses is not here; pip install 'carcli[{EXTRAS[url.scheme]}]'") from error


@cache
def _store(scheme: str) -> Store:
    if scheme == "s3":
        from carcli.stores.s3 import S3

        return S3()
    from carcli.stores.remote import Remote

    return Remote(scheme)
