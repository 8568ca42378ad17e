"""The tag in XMP: where it lives in a WebP, a JPEG or an AVIF, beside whatever others wrote there.

XMP is RDF in XML (ISO 16684-1). Ours is one ``rdf:Description`` of its own, put in before the end of ``rdf:RDF``, so that
taking it out again leaves the rest byte for byte as it was. Tools rewrite XMP, so that the properties are found wherever
they stand, as attributes or as elements. It is data from a stranger: bounded, parsed without a document type, and so
without entities.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

NAMESPACE = "urn:carcli:1.0/"
TAG, CHANNELS = "tag", "channels"  # properties: JSON; 1 where the image is grey and the format has no grey
LARGEST = 1 << 17  # bytes that are parsed
PREFIXES = 8  # names that may stand for our namespace, each of which is looked for
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DESCRIPTION = f"{RDF} Description"
OPENING = re.compile(rb"<[^<>\"']*(?:\"[^\"]*\"[^<>\"']*|'[^']*'[^<>\"']*)*>")
PREFIX = re.compile(rb"xmlns:([A-Za-z_][\w.-]*)\s*=\s*[\"']" + re.escape(NAMESPACE.encode()) + rb"[\"']")
PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'<rdf:RDF xmlns:rdf="{RDF}"></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
).encode()


class DamagedXmp(ValueError):  # noqa: N818 - what it is, not that it is one
    """What is no XML, has a document type, or is too large to be looked at."""


class _Span(NamedTuple):
    start: int
    stop: int


@dataclass
class _Read:
    """What was found in XMP."""

    properties: dict[str, str] = field(default_factory=dict)  # ours, by name
    spans: list[_Span] = field(default_factory=list)  # of elements that hold nothing but ours
    elsewhere: bool = False  # whether ours stand in elements of others
    end: int | None = None  # where RDF ends
    about: str = ""  # what it is about, as others say
    others: int = 0  # properties that are not ours


class _Reader:
    """One pass over XMP."""

    def __init__(self, data: bytes) -> None:
        self.read = _Read()
        self._data, self._path = data, list[str]()
        self._text: list[str] | None = None  # of the property that is being read
        self._candidate: _Span | None = None  # a description with ours alone, until something else is in it
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters

    def parse(self) -> _Read:
        if len(self._data) > LARGEST:
            raise DamagedXmp
        try:
            self._parser.Parse(self._data, True)
        except (expat.ExpatError, ValueError) as error:
            raise DamagedXmp from error
        return self.read

    def _refuse(self, *about: object) -> None:
        raise DamagedXmp

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        parent = self._path[-1] if self._path else ""
        self._path.append(name)
        if name == DESCRIPTION:
            self._describe(self._parser.CurrentByteIndex, attributes)
        elif parent == DESCRIPTION and _split(name)[0] == NAMESPACE:
            self._text, self._candidate, self.read.elsewhere = [], None, True
        elif parent in (DESCRIPTION, f"{RDF} RDF"):
            self._candidate = None
            self.read.others += 1

    def _describe(self, at: int, attributes: Mapping[str, str]) -> None:
        ours = {key: value for key, value in attributes.items() if _split(key)[0] == NAMESPACE}
        others = [key for key in attributes if _split(key)[0] not in (NAMESPACE, RDF)]
        about = attributes.get(f"{RDF} about", attributes.get("about", ""))
        self.read.about = self.read.about or about
        self.read.others += len(others) - ("about" in others)
        for key, value in ours.items():
            self.read.properties.setdefault(_split(key)[1], value)
        opening = OPENING.match(self._data, at)
        self._candidate = None
        if ours and not others and opening is not None and opening.group().endswith(b"/>"):
            self._candidate = _Span(*opening.span())
        elif ours:
            self.read.elsewhere = True

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        self._path.pop()
        if name == DESCRIPTION and self._candidate is not None:
            self.read.spans.append(self._candidate)
            self._candidate = None
        elif name == f"{RDF} RDF":
            at = self._parser.CurrentByteIndex
            self.read.end = at if self._data[at : at + 2] == b"</" else None  # else it is <rdf:RDF/>
        elif self._text is not None and _split(name)[0] == NAMESPACE:
            self.read.properties.setdefault(_split(name)[1], "".join(self._text))
            self._text = None


def _split(name: str) -> tuple[str, str]:
    space, _, local = name.rpartition(" ")
    return space, local


def _holds_ours(xmp: bytes) -> bool:
    return NAMESPACE.encode() in xmp


def properties(xmp: bytes) -> dict[str, str]:
    """Our properties in XMP, by name. Raises ``DamagedXmp`` where there may be some that cannot be read."""
    return _Reader(xmp).parse().properties if _holds_ours(xmp) else {}


def with_properties(xmp: bytes | None, ours: Mapping[str, str]) -> bytes:
    """XMP with our properties put in; the rest stays byte for byte. Raises ``DamagedXmp`` where there is no place for them."""
    xmp = xmp or PACKET
    found = _Reader(xmp).parse()
    if found.end is None:
        raise DamagedXmp
    given = "".join(f" carcli:{name}={quoteattr(value)}" for name, value in ours.items())
    description = f'<rdf:Description xmlns:rdf="{RDF}" rdf:about={quoteattr(found.about)} xmlns:carcli="{NAMESPACE}"{given}/>'
    return xmp[: found.end] + description.encode() + xmp[found.end :]


def with_room_for(xmp: bytes | None, ours: Mapping[str, str], most: int | None) -> tuple[bytes, bool]:
    """XMP with our properties, and whether the rest is in it: where that has no place for them, or takes more than ``most``
    bytes with them, they stand alone.
    """
    try:
        whole = with_properties(xmp, ours)
        if most is None or len(whole) <= most:
            return whole, True
    except DamagedXmp:
        pass
    return with_properties(None, ours), False


def without_properties(xmp: bytes) -> bytes | None:
    """XMP as it was before ``with_properties``; None where nothing else is in it, or what is ours cannot be taken out."""
    if not _holds_ours(xmp):
        return xmp
    try:
        found = _Reader(xmp).parse()
        for span in reversed(found.spans):
            xmp = xmp[: span.start] + xmp[span.stop :]
        if found.elsewhere:
            xmp = _cut(xmp)
            if _Reader(xmp).parse().properties:
                return None
    except DamagedXmp:
        return None
    return xmp if found.others else None


def _cut(xmp: bytes) -> bytes:
    """XMP without attributes and elements of our namespace that stand among those of others.

    Raises ``DamagedXmp`` where more prefixes stand for it than anybody needs.
    """
    prefixes = {re.escape(match) for match in PREFIX.findall(xmp)}
    if len(prefixes) > PREFIXES:
        raise DamagedXmp
    for prefix in prefixes:
        xmp = re.sub(rb"(?<!\s)\s+" + prefix + rb":[\w.-]+\s*=\s*(\"[^\"<]*\"|'[^'<]*')", b"", xmp)
        xmp = re.sub(rb"<" + prefix + rb":([\w.-]+)(?:\s[^<>]*)?(?:/>|>[^<]*</" + prefix + rb":\1\s*>)", b"", xmp)
    return xmp
