"""Random seeds derived from other seeds, and hashes that identify data."""

import hashlib

import numpy as np
from numpy.typing import NDArray


def mix(*parts: int | str) -> int:
    """63-bit seed that depends on all `parts` and their order; the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def fingerprint(*arrays: NDArray[np.generic]) -> str:
    """Hash of the types, shapes and contents of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
