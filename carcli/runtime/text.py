"""Names and messages of strangers, as text that a terminal shows and does not obey."""

from __future__ import annotations

import unicodedata

BYTE = 0xDC00  # a byte that was no text, as Python keeps it in names: U+DC80 to U+DCFF


def shown(text: object) -> str:
    """One line in which everything is printed as it stands: whatever is not is escaped.

    Escaped are control characters and line ends, bytes that are no text, and what turns the direction of writing or
    takes no place.

    >>> shown("holiday\\n\\x1b[31m.png")
    'holiday\\\\n\\\\x1b[31m.png'
    """
    plain = str(text)
    return plain if plain.isprintable() else "".join(map(_shown, plain))


def _shown(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":  # spaces of any width
        return character
    code = ord(character)
    if BYTE + 0x80 <= code <= BYTE + 0xFF:
        return f"\\x{code - BYTE:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
