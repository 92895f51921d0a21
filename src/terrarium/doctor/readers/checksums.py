"""CRC-32C (Castagnoli) of many records at once: RFC 3720, appendix B.4."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POLYNOMIAL = 0x82F63B78
MASK_DELTA = 0xA282EAD8
"""TensorFlow stores a checksum rotated by 15 bits plus this."""


def _table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ np.uint32(POLYNOMIAL), table >> np.uint32(1))
    return table


_TABLE = _table()


def masked_crc32c(
    buffer: NDArray[np.uint8], starts_N: NDArray[np.int64], lengths_N: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Checksums [N], as TensorFlow masks them, of N records that lie in one buffer.

    Args:
        buffer: the bytes.
        starts_N: where each record begins.
        lengths_N: how long each is; all must end inside the buffer.
    """
    order = np.argsort(-lengths_N, kind="stable")
    starts_N, lengths_N = starts_N[order], lengths_N[order]
    crc = np.full(starts_N.size, 0xFFFFFFFF, dtype=np.uint32)
    for place in range(int(lengths_N[0]) if lengths_N.size else 0):
        longer = np.searchsorted(-lengths_N, -place)
        byte = buffer[starts_N[:longer] + place]
        crc[:longer] = _TABLE[(crc[:longer] ^ byte) & np.uint32(0xFF)] ^ (crc[:longer] >> np.uint32(8))
    checksums = np.empty_like(crc)
    checksums[order] = ~crc
    with np.errstate(over="ignore"):
        return ((checksums >> np.uint32(15)) | (checksums << np.uint32(17))) + np.uint32(MASK_DELTA)
