"""The tag in XMP: beside what others wrote, which stays as it is, and found however tools rewrite it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carcli.images import xmp
from carcli.images.xmp import DamagedXmp, properties, with_properties, without_properties

TAG = {"tag": '{"checkpoint":"edsr-x4","note":"<&>\'é"}'}
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DC = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'
SOMEBODYS = {
    "attributes": f'<rdf:RDF {RDF}><rdf:Description rdf:about="" {DC} dc:format="image/png"/></rdf:RDF>',
    "elements": f"<rdf:RDF {RDF}>\n <rdf:Description {DC}>\n  <dc:title>Zürich</dc:title>\n </rdf:Description>\n</rdf:RDF >",
    "about": f'<rdf:RDF {RDF}><rdf:Description rdf:about="uuid:1&quot;2" {DC} dc:format="x"/></rdf:RDF>',
    "another prefix": '<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about="" r:ID="x">'
    '<a:b xmlns:a="urn:a/"><r:Bag><r:li>1</r:li></r:Bag></a:b></r:Description></r:RDF>',
    "a comment that looks like its end": f"<rdf:RDF {RDF}><!-- </rdf:RDF> --><rdf:Description {DC} dc:a='1>2'/></rdf:RDF>",
    "in a packet": f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}>'
    f'<rdf:Description {DC} dc:a="1"/></rdf:RDF></x:xmpmeta>{" " * 2000}<?xpacket end="w"?>',
    "with a byte order mark": f'\ufeff<rdf:RDF {RDF}><rdf:Description {DC} dc:a="1"/></rdf:RDF>',
    "behind a declaration": f'<?xml version="1.0" encoding="UTF-8"?><rdf:RDF {RDF}><rdf:Description {DC} dc:a="ü"/></rdf:RDF>',
}


@pytest.mark.parametrize("theirs", SOMEBODYS.values(), ids=SOMEBODYS.keys())
def test_what_somebody_wrote_stays_byte_for_byte(theirs):
    before = theirs.encode()
    after = with_properties(before, TAG)
    assert properties(after) == TAG
    assert without_properties(after) == before
    assert properties(before) == {}
    assert without_properties(before) == before


def test_where_there_is_none_there_is_none_afterwards():
    packet = with_properties(None, TAG)
    assert properties(packet) == TAG
    assert without_properties(packet) is None


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=200))
def test_any_text_comes_back(text):
    assert properties(with_properties(SOMEBODYS["attributes"].encode(), {"tag": text})) == {"tag": text}


REWRITTEN = {  # as tools do that read XMP and write it anew
    "one description": f'<rdf:RDF {RDF}><rdf:Description {DC} xmlns:c="{xmp.NAMESPACE}" dc:a="1" c:tag="T"/></rdf:RDF>',
    "single quotes": f"<rdf:RDF {RDF}><rdf:Description {DC} xmlns:carcli='{xmp.NAMESPACE}' carcli:tag='T' dc:a='1'/></rdf:RDF>",
    "an element": f'<rdf:RDF {RDF}><rdf:Description {DC} xmlns:carcli="{xmp.NAMESPACE}" dc:a="1"><carcli:tag>T</carcli:tag>'
    "</rdf:Description></rdf:RDF>",
    "two elements": f'<rdf:RDF {RDF}><rdf:Description xmlns:carcli="{xmp.NAMESPACE}"><carcli:tag>T</carcli:tag>'
    f"</rdf:Description><rdf:Description {DC}><dc:a>1</dc:a></rdf:Description></rdf:RDF>",
}


@pytest.mark.parametrize("packet", REWRITTEN.values(), ids=REWRITTEN.keys())
def test_a_rewritten_tag_is_found_and_taken_out(packet):
    assert properties(packet.encode()) == {"tag": "T"}
    rest = without_properties(packet.encode())
    assert properties(rest) == {}
    assert b"1" in rest
    assert b"T" not in rest.replace(b"RDF", b"")


HOSTILE = {
    "entities": '<!DOCTYPE a [<!ENTITY b "x">]>'
    f'<rdf:RDF {RDF}><rdf:Description xmlns:c="{xmp.NAMESPACE}" c:tag="&b;"/></rdf:RDF>',
    "an outside document": f'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a>{xmp.NAMESPACE}</a>',
    "cut": f'<rdf:RDF {RDF}><rdf:Description xmlns:c="{xmp.NAMESPACE}" c:tag="T"',
    "no XML": f"{xmp.NAMESPACE}",
    "too large": f'<rdf:RDF {RDF}><rdf:Description xmlns:c="{xmp.NAMESPACE}" c:tag="{"x" * xmp.LARGEST}"/></rdf:RDF>',
    "bytes": f"\x00\x01{xmp.NAMESPACE}",
}


@pytest.mark.parametrize("packet", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_cannot_be_read_is_refused_whole(packet):
    with pytest.raises(DamagedXmp):
        properties(packet.encode())
    assert without_properties(packet.encode()) is None


@pytest.mark.parametrize("packet", [b"", b"x", b"<a/>", b"<!DOCTYPE a><a/>", f"<rdf:RDF {RDF}/>".encode(), b"\xff\xfe<\0a\0"])
def test_there_is_no_place_where_there_is_no_rdf(packet):
    if not packet:  # nothing is a place of its own
        assert properties(with_properties(packet, TAG)) == TAG
        return
    with pytest.raises(DamagedXmp):
        with_properties(packet, TAG)


@given(st.binary(max_size=300))
def test_no_bytes_can_do_more_than_be_refused(data):
    marked = data + xmp.NAMESPACE.encode()
    for packet in (data, marked, b'<rdf:RDF xmlns:c="' + marked):
        without_properties(packet)
        try:
            properties(packet)
            with_properties(packet, TAG)
        except DamagedXmp:
            continue
