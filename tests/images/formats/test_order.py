from pathlib import Path

import pytest

from matphase.images.formats._order import in_natural_order


@pytest.mark.parametrize(
    "names",
    [
        ["s_1", "s_2", "s_10", "s_100"],
        ["d_0.25", "d_0.5", "d_0.75", "d_1", "d_1.25", "d_2", "d_10"],
        ["z_1", "z_1.5", "z_2"],
        ["um_0.50", "um_0.75", "um_1.00", "um_10.00"],
        ["x_1.25_7", "x_1.5_3", "x_1.5_20"],
        ["1.1", "1.9", "1.10", "1.11"],
        ["2024.05.2", "2024.05.17", "2024.10.1"],
        ["2024-05-17_2", "2024-05-17_10"],
        ["z_-10", "z_-1.5", "z_-1", "z_0", "z_2"],
        ["-5", "-3", "0", "4"],
        ["h=-0.5", "h=0.25", "h=1"],
        ["z-1", "z-2", "z-10"],
        ["scan -1", "scan -2", "scan -10"],
        ["1e-05", "2e-04", "1e-03", "1e+01"],
        ["1.5e-06", "2.5e-05"],
        ["a", "a1", "a2", "b"],
        ["Slice_2", "slice_10"],
    ],
)
def test_names_are_in_the_order_of_their_numbers(names: list[str]) -> None:
    paths = [Path("scan.v1") / f"{name}.tif" for name in names]
    assert in_natural_order(paths[::-1]) == paths


def test_folders_count_before_files() -> None:
    paths = [Path("part_2/b.tif"), Path("part_2/c.tif"), Path("part_10/a.tif")]
    assert in_natural_order(paths[::-1]) == paths
