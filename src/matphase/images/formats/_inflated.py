"""Values that a file holds as one compressed stream: unpacked once, to a temporary file."""

import bz2
import math
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matphase.images.formats._reading import reading
from matphase.support.errors import FormatError
from matphase.support.scratch import WritableStack, as_array, room_for

_PIECE = 2**22

Codec = Literal["zlib", "bzip2"]
"""How a stream is compressed; gzip is zlib, too."""


class Inflated:
    """Array of a compressed stream, which cannot be read from its middle.

    At the first reading all of it is unpacked to a file that the system removes with the process;
    small ones stay in memory.

    Args:
        path: the file.
        offset: where the stream begins.
        codec: how it is compressed.
        stored: type of the values.
        shape: of the array, the last axis runs fastest.
    """

    def __init__(
        self,
        path: Path,
        offset: int,
        codec: Codec,
        stored: np.dtype[Any],
        shape: tuple[int, ...],
    ) -> None:
        self.path, self.offset, self.codec = path, offset, codec
        self.stored, self.shape = stored, shape
        self.dtype: np.dtype[Any] = stored.newbyteorder("=")
        self._unpacked: WritableStack | None = None

    def __reduce__(self) -> Any:
        return Inflated, (self.path, self.offset, self.codec, self.stored, self.shape)

    def __getitem__(self, windows: tuple[slice, ...]) -> NDArray[Any]:
        """Copy a block, given by one window per axis.

        Raises:
            FormatError: the file is gone, damaged or truncated.
            OutputError: there is no room for a temporary file.
        """
        if self._unpacked is None:
            self._unpacked = self._unpack()
        whole = as_array(self._unpacked).view(self.stored).reshape(self.shape)
        return np.array(whole[windows], self.dtype)

    def _unpack(self) -> WritableStack:
        size = math.prod(self.shape) * self.stored.itemsize
        target = room_for((size,), np.dtype(np.uint8))
        filled = 0
        wrong = FormatError(f"{self.path} is truncated or damaged; copy or export it again")
        with reading(self.path), self.path.open("rb") as file:
            file.seek(self.offset)
            packed = b""
            while filled < size:  # a stream may have several parts
                unpacker: Any = (
                    bz2.BZ2Decompressor() if self.codec == "bzip2" else zlib.decompressobj(47)
                )
                while not unpacker.eof:
                    if not packed and getattr(unpacker, "needs_input", True):
                        packed = file.read(_PIECE)
                        if not packed:
                            raise wrong
                    piece = unpacker.decompress(packed, _PIECE)
                    packed = _left(unpacker)
                    if filled + len(piece) > size:
                        raise wrong
                    target[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
                    filled += len(piece)
                packed = unpacker.unused_data
        return target


def _left(unpacker: Any) -> bytes:
    """What an unpacker was given and has not taken yet; bz2 keeps it itself."""
    left: bytes = getattr(unpacker, "unconsumed_tail", b"")
    return left
