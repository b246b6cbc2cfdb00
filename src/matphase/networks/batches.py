"""Batches of few sizes, so that what a library prepares for each size of input stays bounded.

oneDNN, which computes convolutions and bfloat16 products on CPUs, compiles code for each shape of
input that it meets, and keeps it for the next one of that shape: about 1 MB for a small network,
up to 1024 layers. Where the shape differs from call to call, memory grows by hundreds of
megabytes, and most of the time goes into compiling (`benchmarks/memory.py`).
"""


def batch_sizes(examples: int, most: int) -> list[int]:
    """Sizes of the batches in which to compute `examples` examples: powers of two.

    Args:
        examples: number of examples.
        most: size that no batch may exceed, at least 1.

    Returns:
        sizes in falling order, which together are `examples`.
    """
    largest = 1 << (most.bit_length() - 1)
    full, rest = divmod(examples, largest)
    powers = (1 << bit for bit in reversed(range(rest.bit_length())))
    return [largest] * full + [size for size in powers if rest & size]
