"""CRC-32C of many packets at once.

A CRC is linear: what a byte adds to it depends on its value and on how many bytes follow, and on
nothing else. One look-up a byte and one XOR over each packet are the whole sum, in NumPy.
(Castagnoli, Bräuer, Herrmann, IEEE Trans. Comm. 41, 1993; the parameters are those of RFC 3720.)
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Indices: TypeAlias = NDArray[np.int64]

_POLYNOMIAL = 0x82F63B78
MAX_BYTES = 640


@cache
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return what byte b adds if d bytes follow, [d, b], and what the start adds after d bytes."""
    one = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        one = np.where(one & 1, (one >> 1) ^ np.uint32(_POLYNOMIAL), one >> 1)
    adds = np.empty((MAX_BYTES, 256), dtype=np.uint32)
    start = np.empty(MAX_BYTES + 1, dtype=np.uint32)
    adds[0], start[0] = one, 0xFFFFFFFF
    for d in range(1, MAX_BYTES):
        adds[d] = (adds[d - 1] >> 8) ^ one[adds[d - 1] & 0xFF]
    for d in range(1, MAX_BYTES + 1):
        start[d] = (start[d - 1] >> 8) ^ one[start[d - 1] & 0xFF]
    return adds, start


def crc32c_each(data: Bytes, lengths: Indices) -> NDArray[np.uint32]:
    """Return the CRC of each packet.

    Parameters
    ----------
    data : ndarray of uint8
        The packets, one after the other.
    lengths : ndarray of int64, shape (n,)
        1 to `MAX_BYTES` each; their sum is the length of `data`.
    """
    if not len(lengths):
        return np.empty(0, dtype=np.uint32)
    adds, start = _tables()
    stops = np.cumsum(lengths)
    following = np.repeat(stops, lengths) - 1 - np.arange(len(data))
    sums = np.bitwise_xor.reduceat(adds[following, data], stops - lengths)
    result: NDArray[np.uint32] = sums ^ start[lengths] ^ np.uint32(0xFFFFFFFF)
    return result


def crc32c(data: bytes) -> int:
    """Return the CRC of one packet of 1 to `MAX_BYTES` bytes."""
    return int(crc32c_each(np.frombuffer(data, np.uint8), np.array([len(data)]))[0])
