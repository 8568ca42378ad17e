"""MEGA's public file links: asked for over its API, decrypted on the way, checked by the MAC in the link's own key.

The arithmetic (AES) is the ``cryptography`` package's, which the extra ``mega`` installs.
"""

from __future__ import annotations

import base64
import json
import random
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests

from carcli.weights.http import Busy, FetchError, Remote, beginning, request

API = "https://g.api.mega.co.nz/cs"
HOSTS = ("mega.nz", "mega.co.nz", "www.mega.nz")
LINK = re.compile(r"mega(?:\.co)?\.nz/(?:#!|file/)([\w-]{8})[!#]([\w-]{43})")
ERRORS = {-9: "no such file", -16: "the file is blocked", -17: "its quota is used up", -2: "the link is malformed"}
BUSY = (-3, -4, -18)
KIB = 1024
ANSWER = 64 * KIB  # bytes of an answer that are read


@dataclass(frozen=True)
class Key:
    """A link's key, taken apart."""

    aes: bytes  # 16
    nonce: bytes  # 8
    mac: bytes  # 8

    @classmethod
    def parse(cls, text: str) -> Key:
        """From base64url, 32 bytes. Raises ``FetchError`` for anything else."""
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            a = struct.unpack(">8I", raw)
        except (ValueError, struct.error) as error:
            raise FetchError("the link's key is malformed") from error
        return cls(struct.pack(">4I", *(a[i] ^ a[i + 4] for i in range(4))), raw[16:24], raw[24:32])


def _aes(key: bytes, mode: str, iv: bytes) -> Callable[[bytes], bytes]:
    try:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    except ImportError as error:
        raise FetchError("MEGA links need the extra: pip install 'carcli[mega]'") from error
    made = modes.CTR(iv) if mode == "ctr" else modes.CBC(iv)
    return Cipher(algorithms.AES(key), made).encryptor().update


def decryptor(key: Key, offset: int) -> Callable[[bytes], bytes]:
    """AES-128-CTR from any byte of the file on."""
    update = _aes(key.aes, "ctr", key.nonce + struct.pack(">Q", offset // 16))
    update(bytes(offset % 16))  # the part of the first block that lies before
    return update


def _chunks(size: int) -> Iterator[int]:
    """Lengths of the pieces that are MACed one by one: 128 KiB more each, up to 1 MiB."""
    length, at = 128 * KIB, 0
    while at < size:
        yield min(length, size - at)
        at += length
        length = min(length + 128 * KIB, 1024 * KIB)


def file_mac(path: Path, key: Key) -> bytes:
    """The 8 bytes that a link's key ends with, of a decrypted file."""
    total = bytes(16)
    with path.open("rb") as file:
        for length in _chunks(path.stat().st_size):
            data = file.read(length)
            data += bytes(-len(data) % 16)
            chunk = _aes(key.aes, "cbc", key.nonce * 2)(data)[-16:]
            total = _aes(key.aes, "cbc", bytes(16))(bytes(a ^ b for a, b in zip(total, chunk, strict=True)))
    m = struct.unpack(">4I", total)
    return struct.pack(">2I", m[0] ^ m[1], m[2] ^ m[3])


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value < 1 << 60


def resolve(session: requests.Session, address: str, api: str = API) -> Remote:
    """Ask MEGA where the file of a link can be read now. Raises ``FetchError`` with MEGA's reason."""
    found = LINK.search(address)
    if not found:
        raise FetchError("it is no MEGA file link")
    file_id, key = found[1], Key.parse(found[2])
    _aes(key.aes, "cbc", bytes(16))  # fail before the download where AES is missing
    with request(session, f"{api}?id={random.randrange(1 << 32)}", json=[{"a": "g", "g": 1, "ssl": 2, "p": file_id}]) as answer:
        if answer.status_code != 200:
            raise Busy(f"MEGA answers HTTP {answer.status_code}")
        try:
            told = json.loads(beginning(answer, ANSWER))
        except (ValueError, RecursionError) as error:
            raise FetchError("MEGA's answer is malformed") from error
    told = told[0] if isinstance(told, list) and told else told
    if type(told) is int and abs(told) < 1000:
        if told in BUSY:
            raise Busy("MEGA asks to try again")
        raise FetchError(f"MEGA says: {ERRORS.get(told, f'error {told}')}")
    if not (isinstance(told, dict) and isinstance(told.get("g"), str) and _is_size(told.get("s"))):
        raise FetchError("MEGA's answer is malformed")

    def check(path: Path) -> None:
        if file_mac(path, key) != key.mac:
            raise FetchError("what MEGA gave is not the file (its MAC differs)")

    return Remote(told["g"], size=told["s"], decrypt=lambda offset: decryptor(key, offset), check=check)
