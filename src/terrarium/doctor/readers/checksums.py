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


def masked_crc32c(bytes_NL: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Checksums [N] of N records of L bytes, as TensorFlow masks them."""
    crc = np.full(bytes_NL.shape[0], 0xFFFFFFFF, dtype=np.uint32)
    for byte_N in bytes_NL.T:
        crc = _TABLE[(crc ^ byte_N) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    crc = ~crc
    with np.errstate(over="ignore"):
        return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(MASK_DELTA)
