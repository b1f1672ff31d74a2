"""BSON, as much of it as the tests speak: dicts to bytes and back."""

from __future__ import annotations

import datetime
import os
import struct
from typing import Any, NamedTuple

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class ObjectId(bytes):
    """Twelve bytes; made new where none are given."""

    def __new__(cls, value: bytes | str | None = None) -> ObjectId:
        value = os.urandom(12) if value is None else bytes.fromhex(value) if isinstance(value, str) else value
        if len(value) != 12:
            raise ValueError("an ObjectId has 12 bytes")
        return super().__new__(cls, value)

    def __str__(self) -> str:
        return self.hex()

    __repr__ = __str__


class Int64(int):
    """An integer that is written in 64 bits even where 32 would do."""


class Decimal128(bytes):
    """Sixteen raw bytes, little-endian."""


class Binary(NamedTuple):
    """Bytes with a subtype; plain `bytes` are subtype 0."""

    subtype: int
    data: bytes


class Regex(NamedTuple):
    pattern: str
    options: str = ""


class Timestamp(NamedTuple):
    seconds: int
    increment: int


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<i", len(data) + 1) + data + b"\0"


def _element(value: Any) -> tuple[int, bytes]:
    """The type byte of a value, and its bytes."""
    match value:
        case None:
            return 0x0A, b""
        case bool():
            return 0x08, bytes([value])
        case float():
            return 0x01, struct.pack("<d", value)
        case Int64():
            return 0x12, struct.pack("<q", value)
        case int():
            return (0x10, struct.pack("<i", value)) if -(2**31) <= value < 2**31 else (0x12, struct.pack("<q", value))
        case str():
            return 0x02, _text(value)
        case dict():
            return 0x03, encode(value)
        case ObjectId():
            return 0x07, bytes(value)
        case Decimal128():
            return 0x13, bytes(value)
        case Binary(subtype, data):
            return 0x05, struct.pack("<iB", len(data), subtype) + data
        case bytes():
            return 0x05, struct.pack("<iB", len(value), 0) + value
        case Regex(pattern, options):
            return 0x0B, pattern.encode() + b"\0" + options.encode() + b"\0"
        case Timestamp(seconds, increment):
            return 0x11, struct.pack("<II", increment, seconds)
        case datetime.datetime():
            return 0x09, struct.pack("<q", round((value - EPOCH) / datetime.timedelta(milliseconds=1)))
        case list() | tuple():
            return 0x04, encode({str(index): item for index, item in enumerate(value)})
    raise TypeError(f"no BSON for {type(value).__name__}")


def encode(document: dict[str, Any]) -> bytes:
    body = b"".join(
        bytes([kind]) + key.encode() + b"\0" + data
        for key, value in document.items()
        for kind, data in [_element(value)]
    )
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def decode(data: bytes, at: int = 0) -> dict[str, Any]:
    return dict(_members(data, at))


def _members(data: bytes, at: int):
    end = at + struct.unpack_from("<i", data, at)[0] - 1
    at += 4
    while at < end:
        kind = data[at]
        stop = data.index(0, at + 1)
        key = data[at + 1 : stop].decode()
        value, at = _value(kind, data, stop + 1)
        yield key, value


def _value(kind: int, data: bytes, at: int) -> tuple[Any, int]:
    """The value that begins at `at`, and where it ends."""

    def number(form: str) -> tuple[Any, int]:
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)

    match kind:
        case 0x01:
            return number("<d")
        case 0x02:
            end = at + 4 + struct.unpack_from("<i", data, at)[0]
            return data[at + 4 : end - 1].decode(), end
        case 0x03:
            return decode(data, at), at + struct.unpack_from("<i", data, at)[0]
        case 0x04:
            return [value for _, value in _members(data, at)], at + struct.unpack_from("<i", data, at)[0]
        case 0x05:
            length, subtype = struct.unpack_from("<iB", data, at)
            content = data[at + 5 : at + 5 + length]
            return (content if subtype == 0 else Binary(subtype, content)), at + 5 + length
        case 0x07:
            return ObjectId(data[at : at + 12]), at + 12
        case 0x08:
            return data[at] != 0, at + 1
        case 0x09:
            return EPOCH + datetime.timedelta(milliseconds=number("<q")[0]), at + 8
        case 0x0A:
            return None, at
        case 0x0B:
            pattern_end = data.index(0, at)
            options_end = data.index(0, pattern_end + 1)
            return Regex(data[at:pattern_end].decode(), data[pattern_end + 1 : options_end].decode()), options_end + 1
        case 0x10:
            return number("<i")
        case 0x11:
            increment, seconds = struct.unpack_from("<II", data, at)
            return Timestamp(seconds, increment), at + 8
        case 0x12:
            value, at = number("<q")
            return Int64(value), at
        case 0x13:
            return Decimal128(data[at : at + 16]), at + 16
    raise ValueError(f"BSON type 0x{kind:02x} is not known here")
