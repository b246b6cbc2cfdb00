"""Random seeds derived from other seeds, and hashes that identify data."""

import hashlib

import numpy as np

from matphase.support.errors import InputError
from matphase.support.scratch import Stack


def checked_seed(seed: object) -> int:
    """A random seed as a whole number of 64 bits.

    Raises:
        InputError: it is something else.
    """
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        number = int(seed)
        if -(2**63) <= number < 2**63:
            return number
    raise InputError("a random seed is a whole number of at most 64 bits; give another one (seed=)")


def mix(*parts: int | str) -> int:
    """63-bit seed that depends on all `parts` and their order; the same on every machine."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def fingerprint(*stacks: Stack) -> str:
    """Hash of the types, shapes and contents of arrays, or of stacks on disk."""
    digest = hashlib.sha256()
    for stack in stacks:
        digest.update(f"{stack.dtype}{stack.shape}".encode())
        for number in range(len(stack)):
            digest.update(np.ascontiguousarray(stack[number]).data)
    return digest.hexdigest()
