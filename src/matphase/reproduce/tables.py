"""Tables of results as Markdown to read, CSV to load, and JSON with all that is known."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matphase.reproduce.data import COPIES
from matphase.reproduce.machine import described
from matphase.reproduce.page import cell, count, difference_cell, grid, write_page
from matphase.reproduce.protocol import Protocol
from matphase.reproduce.summary import RowSummary, SplitSummary, TableSummary, summarised
from matphase.reproduce.table_rows import TableSpec
from matphase.scores.spread import NOTHING, Spread
from matphase.settings import IDKSettings, LCGARSettings, UGSMSettings

PAPER_PHASES = ["pore", "carbon", "nickel"]
"""The paper's F1 are of these."""

_SUBSET_MARK = "†"


def write_table(spec: TableSpec, out: Path, seeds: Sequence[int]) -> list[Path]:
    """Write `NAME.md`, `NAME.csv` and `NAME.json` of what is known of a table.

    Args:
        spec: the table.
        out: folder of all results; the files are written into it, in place of older ones.
        seeds: that the table is meant to have.

    Returns:
        The files.

    Raises:
        OutputError: they cannot be written.
    """
    summary = summarised(spec, out, seeds)
    table = (_csv_header(), _csv_lines(summary))
    return write_page(out / spec.name, markdown(summary), summary.to_json(), table)


def markdown(summary: TableSummary) -> str:
    """The table as a page of Markdown, one part a split and the paper's numbers at the end."""
    parts = [
        f"# {summary.title}",
        f"{conditions_text(summary.conditions)}Scores are mean ± SD over seeds. F1 is the mean "
        "over test images; ACC is in per cent, of the five best and the five worst of them.",
    ]
    for split in summary.splits:
        parts += _split_parts(summary, split)
    parts += _paper_parts(summary)
    return "\n\n".join([*parts, described(summary.machines)])


# --- one split ------------------------------------------------------------------------------------


def _split_parts(summary: TableSummary, split: SplitSummary) -> list[str]:
    against = " and ".join(split.truths)
    counts = [len(row.seeds) for row in split.rows if row.seeds]
    if not counts:
        return [f"## Split `{split.split}`: no results yet"]
    heading = (
        f"## Split `{split.split}`, against {against} labels, "
        f"{seeds_text(counts, len(summary.seeds))}"
    )
    parts = [heading, split_text(split.split, summary.conditions)]
    for truth in split.truths:
        parts += [f"### Against {truth} labels", _score_table(split, truth)]
    note = _subset_note(summary, split)
    return [*parts, *note, *_lead_parts(split), "### Cost", _cost_table(split)]


def _score_table(split: SplitSummary, truth: str) -> str:
    measures = [
        *((f"F1 {phase}", f"F1 {phase}", 3) for phase in split.phases),
        ("ACC best 5", "ACC_best5", 2),
        ("ACC lowest 5", "ACC_low5", 2),
        ("mIU", "mIU", 3),
        ("fIU", "fIU", 3),
    ]
    # the paper's labels are measured ones
    paper = truth == "measured" and any(row.paper for row in split.rows)
    header = ["row", *(title for title, _, _ in measures), *(["paper mIU"] if paper else [])]
    return grid(
        header,
        [
            [
                _title(row, split),
                *(cell(row.score(truth, name), digits) for _, name, digits in measures),
                *([_printed(row.paper, "mIU")] if paper else []),
            ]
            for row in split.rows
        ],
    )


def _title(row: RowSummary, split: SplitSummary) -> str:
    """The row's title, with what sets it apart from the others."""
    most = max(len(other.seeds) for other in split.rows)
    title = f"{row.title} {_SUBSET_MARK}" if row.on_all_pixels is False else row.title
    if not row.seeds:
        return f"{title} (no result yet)"
    return title if len(row.seeds) == most else f"{title} ({count(len(row.seeds), 'seed')})"


def _subset_note(summary: TableSummary, split: SplitSummary) -> list[str]:
    if all(row.on_all_pixels is not False for row in split.rows):
        return []
    pixels = "random pixels"
    if summary.conditions:
        pixels = f"{summary.conditions['protocol']['patches_per_image']:,} random pixels"
    note = f"{_SUBSET_MARK} Scored on {pixels} of each test image"
    changes = [
        f"{cell(values['subset'], 3)} instead of {cell(values['all'], 3)} ({truth} labels)"
        for truth, values in split.ugsm_on_subset.items()
    ]
    return [f"{note}; on them alone UGSM has mIU {', '.join(changes)}." if changes else f"{note}."]


def _lead_parts(split: SplitSummary) -> list[str]:
    rows = [row for row in split.rows if row.matphase_minus_row]
    if not rows:
        return []
    seeds = [len(lead.seeds) for row in rows for lead in row.matphase_minus_row.values()]
    text = (
        "Difference in mIU over the seeds that both have, with its 95 % interval (paired bootstrap "
        "over seeds and blocks of pixels); **bold** where the interval excludes 0. "
    )
    if min(seeds) == 1:
        text += "With one seed it leaves out what another electrode and training would change."
    else:
        text += "With few seeds it is somewhat too narrow."
    if len(rows) > 2:
        text += " Of many intervals a few leave out 0 by chance: one in twenty if nothing differs."
    if not all(lead.on_all_pixels for row in rows for lead in row.matphase_minus_row.values()):
        text += f" {_SUBSET_MARK} Both on the random pixels of the row."
    table = grid(
        ["row", *(f"against {truth}" for truth in split.truths)],
        [[_title(row, split), *(_lead(row, truth) for truth in split.truths)] for row in rows],
    )
    return ["### MatPhase minus row", text, table]


def _lead(row: RowSummary, truth: str) -> str:
    return difference_cell(row.matphase_minus_row[truth].interval("mIU"), bold=True)


def _cost_table(split: SplitSummary) -> str:
    return grid(
        ["row", "parameters", "MACs per pixel", "pixels/s"],
        [
            [
                _title(row, split),
                f"{row.parameters:,}",
                _rounded(row.macs_per_pixel.mean),
                _rounded(row.pixels_per_second.mean),
            ]
            for row in split.rows
            if row.seeds
        ],
    )


def _rounded(value: float | None) -> str:
    """To three figures, the thousands apart."""
    return "-" if value is None else f"{float(f'{value:.3g}'):,.10g}"


# --- the paper ------------------------------------------------------------------------------------


def _paper_parts(summary: TableSummary) -> list[str]:
    rows = {row.title: row.paper for split in summary.splits for row in split.rows if row.paper}
    if not rows:
        return []
    known = [split.phases for split in summary.splits if split.phases]
    phases = PAPER_PHASES if all(phases == PAPER_PHASES for phases in known) else []
    measures = [f"F1 {phase}" for phase in phases]
    table = grid(
        ["row", *measures, "ACC best 5", "ACC lowest 5", "mIU", "fIU"],
        [
            [
                title,
                *(_printed(paper, name) for name in measures),
                *(
                    f"{_printed(paper, name)} ± {_printed(paper, f'{name}_sd')}"
                    for name in ("ACC_best5", "ACC_low5")
                ),
                _printed(paper, "mIU"),
                _printed(paper, "fIU"),
            ]
            for title, paper in rows.items()
        ],
    )
    text = "Of the authors' electrode and their split; ± is theirs, not the SD over seeds."
    return ["## The paper's numbers", text, table]


def _printed(paper: dict[str, float] | None, measure: str) -> str:
    if not paper or measure not in paper:
        return "-"
    text = f"{paper[measure]:g}"
    # the paper gives its scores between 0 and 1 to two decimals at least
    return text if "ACC" in measure or len(text) > 3 else f"{paper[measure]:.2f}"


# --- words ----------------------------------------------------------------------------------------


def conditions_text(conditions: dict[str, Any] | None) -> str:
    """Data, preset and training in a line, with a space behind; empty where they are not noted."""
    if conditions is None:
        return ""
    protocol = Protocol.model_validate(conditions["protocol"])
    settings, slices = protocol.settings, conditions["slices"]
    if slices:
        data = f"The user's slices (checksum {slices['data'][:12]})"
    else:
        data = f"Virtual electrode `{protocol.recipe}`, a new one for each seed"
        if protocol.shape:
            data += f", {' × '.join(str(edge) for edge in protocol.shape)} voxels"
    ugsm, crop = settings.ugsm, settings.data.crop
    batch = f"{ugsm.batch_size} {f'crops of {crop} px' if crop else 'slices'}"
    text = (
        f"{data}. Preset `{protocol.preset}`: networks of whole images have width {ugsm.width} and "
        f"learn for {_budget(ugsm)} of {batch} (T = {ugsm.samples}); HCL-IDK learns for "
        f"{_budget(settings.idk)}, patch networks for {_budget(settings.lcgar)}"
    )
    if images := settings.data.local_images:
        text += f", on {images} images"
    if pixels := settings.lcgar.pixels_per_image:
        text += f", patch networks on up to {pixels:,} pixels of each"
        if protocol.resnet_thinning > 1:
            text += f" (ResNets 1/{protocol.resnet_thinning} of these, in as many steps)"
    return f"{text}. "


def _budget(stage: UGSMSettings | IDKSettings | LCGARSettings) -> str:
    """How long a stage trains; with few slices it is the number of steps that counts."""
    if isinstance(stage, UGSMSettings) and stage.max_steps:
        return f"{stage.max_steps:,} steps"
    if stage.min_steps:
        return f"at least {stage.min_steps:,} steps"
    return count(stage.epochs, "epoch")


def split_text(split: str, conditions: dict[str, Any] | None) -> str:
    """A sentence on what a split tests."""
    if split == "paper":
        return (
            f"Tests all {COPIES} copies of 4 slices that training never sees, and 10 copies of "
            "slices that it does see: leaks as the paper's split does, and is no basis for claims."
        )
    every = conditions["protocol"]["test_every"] if conditions else 1
    thinned = f", one slice of {every}" if every > 1 else ""
    return f"Tests a block of depth that training never sees{thinned}."


def seeds_text(counts: Sequence[int], wanted: int) -> str:
    """How many seeds are done, such as "2 to 3 of 3 seeds"."""
    low, high = min(counts), max(counts)
    done = f"{low} to {high}" if low != high else str(high)
    return count(wanted, "seed") if low == wanted else f"{done} of {count(wanted, 'seed')}"


# --- files ----------------------------------------------------------------------------------------


def _csv_header() -> list[str]:
    return ["split", "truth", "row", "measure", "mean", "sd", "n_seeds", "paper"]


def _csv_lines(summary: TableSummary) -> list[list[Any]]:
    """A line a measure; what a row costs does not depend on the truth, which is then empty."""
    lines: list[list[Any]] = []
    for split in summary.splits:
        for row in split.rows:
            costs = {
                "parameters": Spread(row.parameters, None, len(row.seeds))
                if row.seeds
                else NOTHING,
                "macs_per_pixel": row.macs_per_pixel,
                "pixels_per_second": row.pixels_per_second,
            }
            for truth, measures in (*row.scores.items(), ("", costs)):
                paper = row.paper if row.paper and truth == "measured" else {}
                lines += [
                    [
                        split.split,
                        truth,
                        row.title,
                        measure,
                        value.mean,
                        value.sd,
                        value.n_seeds,
                        paper.get(measure),
                    ]
                    for measure, value in measures.items()
                    if value.n_seeds
                ]
    return lines
