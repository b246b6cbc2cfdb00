"""Batches have few sizes, and the memory of a network does not grow with the batches it meets."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matphase.networks.batches import batch_sizes


@given(st.integers(0, 10**5), st.integers(1, 5000))
def test_batches_hold_every_example_and_are_powers_of_two(examples: int, most: int) -> None:
    sizes = batch_sizes(examples, most)
    assert sum(sizes) == examples
    assert all(1 <= size <= most and size & (size - 1) == 0 for size in sizes)
    assert sizes == sorted(sizes, reverse=True)


@given(st.integers(1, 5000))
def test_any_number_of_examples_needs_few_sizes_and_few_batches(most: int) -> None:
    met = {size for examples in range(0, 3000, 7) for size in batch_sizes(examples, most)}
    assert len(met) <= most.bit_length()
    assert len(batch_sizes(2 * most, most)) <= 4 + most.bit_length()


GROWTH = """
import re
import sys
from pathlib import Path
import numpy as np
import torch
from matphase.method import lcgar
from matphase.method.results import GlobalPrediction, Partition
from matphase.settings import LCGARSettings, Settings

def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) / 1000

torch.set_num_threads(1)
settings = Settings(lcgar=LCGARSettings(padding=sys.argv[1], h=7), precision="bfloat16")
network = lcgar.build(3, settings).eval()
rng = np.random.default_rng(0)
shape = (1, 40, 40)
logits = rng.normal(size=(1, 3, 40, 40)).astype(np.float32)
known = GlobalPrediction(logits.argmax(1).astype(np.uint8), logits, np.zeros(shape, np.float32))
image = rng.normal(size=(1, 1, 40, 40)).astype(np.float32)

def predict(pixels):
    score = np.zeros(shape, np.float32)
    score.flat[:pixels] = 1
    partition = Partition(score > 0, score)
    lcgar.predict(network, image, known, partition, settings)

for pixels in (1023, 512, 1600):
    predict(pixels)
before = anonymous()
for pixels in range(2, 1600, 3):
    predict(pixels)
print(anonymous() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="not Linux")
@pytest.mark.parametrize("padding", ["zeros", "image"])
def test_memory_does_not_grow_with_the_number_of_pixels_that_blocks_ask_for(padding: str) -> None:
    """Each size of a batch would keep 0.5 to 2 MB for ever."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, padding], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 60
