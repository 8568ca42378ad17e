"""The inputs that a text names, as ``find``, an editor or PowerShell writes it."""

from __future__ import annotations

import codecs
from pathlib import Path

from carcli.errors import UsageError
from carcli.runtime.paths import reason
from carcli.stores.schemes import store_of
from carcli.stores.url import Place, Url


def listed(path: Place) -> list[Path | str]:
    """The inputs that a file or an object names. Raises ``UsageError`` or ``StoreError`` where it cannot be read."""
    if isinstance(path, Url):
        return names(store_of(path).read(path)[0])
    try:
        return names(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: {reason(error)}; name a text file with --from-file") from error


def names(data: bytes) -> list[Path | str]:
    """The inputs that a text names, one a line, or with zero bytes between them as ``find -print0`` writes them.

    Nothing but a line feed, or a carriage return and a line feed, ends a line. The text is UTF-8,
    in which bytes that are none stay as they are, or UTF-16 behind a byte order mark. What holds ``://`` is an address. Raises
    ``UsageError`` where it is said to be UTF-16 and is not.
    """
    text = _text(data)
    if "\0" in text:
        return [_item(name) for name in text.split("\0") if name]
    lines = (line.removesuffix("\r") for line in text.split("\n"))
    return [_item(line) for line in lines if line.strip()]


def _item(name: str) -> Path | str:
    """A path, or an address, which is none."""
    return name if "://" in name else Path(name)


def _text(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise UsageError("the list of inputs is no whole UTF-16; write it as UTF-8") from error
    return data.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
