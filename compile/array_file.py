"""Arrays with a header of JSON in one file, whole or not at all.

A file is written under a name of its own and then renamed, so that whoever reads it meets the whole of it or what was there
before. What is damaged or cut short is found out by lengths and checksums. Nothing in a file is executed.

    offset      what
    0           magic, 8 bytes
    8           uint32 length of the header, uint32 CRC-32 of the header
    16          the header, JSON: what the caller says, body (length and CRC-32),
                arrays (name, dtype, shape, offset in the body)
    aligned     the body: the arrays, each at a multiple of 64
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["DamagedFile", "package_version", "packed_file", "unpacked_file", "write_whole"]

Array = np.ndarray[Any, Any]

_MAGIC = b"MASKWRT\1"
_PREFIX = struct.Struct("<8sII")
_ALIGNMENT = 64


class DamagedFile(Exception):
    """A file that is not what it was written as."""


@cache
def package_version() -> str:
    """The version of this package."""
    return version("maskwright")


def packed_file(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """The bytes of a file.

    Args:
        header: what JSON can say; "body" and "arrays" are added.
        arrays: of numbers, any shape.
    """
    body, table = bytearray(), []
    for name, array in arrays.items():
        body.extend(bytes(_aligned(len(body)) - len(body)))
        table.append([name, array.dtype.str, list(array.shape), len(body)])
        body.extend(np.ascontiguousarray(array).tobytes())
    written = json.dumps({**header, "body": [len(body), zlib.crc32(body)], "arrays": table}).encode()
    start = _PREFIX.pack(_MAGIC, len(written), zlib.crc32(written)) + written
    return start + bytes(_aligned(len(start)) - len(start)) + body


def unpacked_file(data: Array) -> tuple[dict[str, Any], dict[str, Array]]:
    """The header and the arrays, views of `data`, of the bytes of a file.

    Args:
        data: uint8 [n].

    Raises:
        DamagedFile: it is not what packed_file has made.
    """
    if len(data) < _PREFIX.size:
        raise DamagedFile("it is cut short")
    magic, length, checksum = _PREFIX.unpack(data[: _PREFIX.size].tobytes())
    written = data[_PREFIX.size : _PREFIX.size + length].tobytes()
    if magic != _MAGIC or len(written) != length or zlib.crc32(written) != checksum:
        raise DamagedFile("its beginning is not that of a file of Maskwright")
    header = json.loads(written)
    start = _aligned(_PREFIX.size + length)
    body = data[start:]
    if len(data) < start or [len(body), zlib.crc32(body.data)] != header.pop("body"):
        raise DamagedFile("its contents are not what was written")
    arrays = {}
    for name, dtype, shape, offset in header.pop("arrays"):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        arrays[name] = np.asarray(body[offset : offset + size]).view(dtype).reshape(shape)
    return header, arrays


def write_whole(path: Path, data: bytes) -> None:
    """Make `path` a file of these bytes, in place of one that may be there.

    Raises:
        OSError: it cannot be written; what was there is untouched.
    """
    temporary = path.with_name(f".{path.name[:100]}-{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as out:
            out.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
