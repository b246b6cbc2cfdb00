"""Files of weights (safetensors), whose header is compared with a network before any is read.

A file begins with the length of its header (8 bytes) and the header, which is JSON: type, shape and
place of each tensor. Format: https://huggingface.co/docs/safetensors
"""

import hashlib
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from matphase.support.errors import DivergedError, ModelError
from matphase.support.files import atomic_write
from matphase.support.records import MAX_JSON, RecordError, open_regular, parse_json

_LENGTH = struct.Struct("<Q")
_TYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}

_SHORT = (torch.float16, torch.bfloat16)

CHECKSUM = "blake2b"
"""Name of the checksum of all tensors in the header; files of earlier versions have none."""


def checksum_of(tensors: Mapping[str, Tensor]) -> str:
    """Checksum of the names, types, shapes and values of tensors."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def check_header(path: Path, expected: Mapping[str, Tensor]) -> str | None:
    """Check that a file has the tensors of a network, by name, type and shape.

    Only the header is read, so that neither a wrong file nor a wrong setting costs memory. Numbers
    of 32 bits may be stored with 16.

    Args:
        path: the file.
        expected: the network's `state_dict`; tensors on the meta device suffice.

    Returns:
        the checksum that its tensors should have; None if the header has none.

    Raises:
        ModelError: the file is missing, damaged, or belongs to another network.
    """
    try:
        found, size, checksum = _header(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; copy the whole model folder again") from error
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except RecordError as error:
        raise _not_these(path) from error
    size -= sum(
        tensor.numel() * _stored_type(found.get(name), tensor).itemsize
        for name, tensor in expected.items()
    )
    wanted = {
        name: (_stored_type(found.get(name), tensor), list(tensor.shape))
        for name, tensor in expected.items()
    }
    if found != wanted or size != 0:
        raise _not_these(path)
    return checksum


def _stored_type(entry: tuple[Any, Any] | None, tensor: Tensor) -> torch.dtype:
    """Type in which a tensor may be stored: its own, or 16 bits in place of 32."""
    found = entry[0] if entry is not None else None
    return found if found in _SHORT and tensor.dtype == torch.float32 else tensor.dtype


def _header(path: Path) -> tuple[dict[str, Any], int, str | None]:
    """Type and shape of each tensor, the bytes after the header, and the checksum."""
    with open_regular(path) as file:
        start = file.read(_LENGTH.size)
        length = _LENGTH.unpack(start)[0] if len(start) == _LENGTH.size else 0
        if not 0 < length <= MAX_JSON:
            raise RecordError(f"{path} has no header")
        header = parse_json(file.read(length), str(path))
        size = os.fstat(file.fileno()).st_size - _LENGTH.size - length
    if not isinstance(header, dict):
        raise RecordError(f"{path} has no header")
    metadata = header.pop("__metadata__", None)
    checksum = metadata.get(CHECKSUM) if isinstance(metadata, dict) else None
    if not all(isinstance(entry, dict) for entry in header.values()):
        raise RecordError(f"{path} has no header")
    tensors = {
        name: (_TYPES.get(str(entry.get("dtype"))), entry.get("shape"))
        for name, entry in header.items()
    }
    return tensors, size, checksum


def _not_these(path: Path) -> ModelError:
    return ModelError(
        f"{path} does not hold the weights that its settings describe; "
        "copy the model folder again, or train again"
    )


def save_weights(network: nn.Module, path: Path, *, overwrite: bool = False) -> None:
    """Write a network's weights and buffers as safetensors.

    Raises:
        DivergedError: a weight is not finite.
    """
    if not are_finite(network):
        raise DivergedError(
            f"{path.name} would hold weights that are not finite; train again with a lower "
            "learning_rate"
        )
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    with atomic_write(path, overwrite=overwrite) as beside:
        # safetensors' own writer hides a full disk, and makes files that only the owner can read
        beside.write_bytes(save(tensors, {CHECKSUM: checksum_of(tensors)}))


def load_weights(network: nn.Module, path: Path) -> None:
    """Load weights that `save_weights` wrote into a network of the same shape.

    Raises:
        ModelError: the file is missing, damaged, or belongs to another network; or its weights are
            not finite.
    """
    checksum = check_header(path, network.state_dict())
    try:
        tensors = load_file(path)
        if checksum not in (None, checksum_of(tensors)):
            raise ValueError("the checksum differs")
        network.load_state_dict(tensors)
    except Exception as error:  # safetensors and torch raise several kinds for damaged files
        raise ModelError(
            f"{path} does not hold the weights that its settings describe; "
            "copy the model folder again, or train again"
        ) from error
    if not are_finite(network):
        raise ModelError(
            f"{path} holds weights that are not finite, as a training leaves them that diverged; "
            "train again with a lower learning_rate"
        )


def are_finite(network: nn.Module) -> bool:
    """Whether all weights and buffers of a network are finite."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values())
