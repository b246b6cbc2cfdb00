"""The demo's scores, its time and its memory, over several seeds.

    python benchmarks/demo.py OUT [--seeds 3]

OUT keeps the result of each seed; a run that was stopped goes on.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import publish

from matphase.reproduce.engine import Case, run
from matphase.reproduce.page import grid, mean_sd


def main() -> None:
    """Run the demo for each seed and write results/demo.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    cases = [Case("demo", seed) for seed in range(arguments.seeds)]
    runs = list(run(cases, demo, arguments.out).values())
    peak = max(found["peak_gb"] for found in runs)
    columns = ("ACC", "mIU", "fIU", "ECE")
    rows = [
        [
            name,
            *(
                mean_sd(one["rows"][name]["F1"][phase] for one in runs)
                for phase in runs[0]["phases"]
            ),
            *(mean_sd(one["rows"][name][key] for one in runs) for key in columns),
        ]
        for name in runs[0]["rows"]
    ]
    gains = [one["rows"]["MatPhase"]["mIU"] - one["rows"]["UGSM"]["mIU"] for one in runs]
    found = {
        key: mean_sd(one["uncertainty"][key] for one in runs) for key in runs[0]["uncertainty"]
    }
    seconds = [one["seconds"] for one in runs]
    text = f"""# The demo

`python benchmarks/demo.py OUT --seeds {len(runs)}`. Mean ± SD over {len(runs)} seeds (of electrode
and training), preset quick, unseen slices of the same electrode (split blocked), measured labels.

{grid(["", *(f"F1 {phase}" for phase in runs[0]["phases"]), *columns], rows)}

MatPhase minus UGSM, mIU: {mean_sd(gains)}.

Of UGSM's wrong pixels the set of uncertain pixels holds {found["idk_recall"]}, with precision
{found["idk_precision"]} and share {found["idk_share"]}. AUROC against UGSM's errors: entropy
{found["entropy_AUROC"]}, HCL-IDK score {found["idk_AUROC"]}.

Time {min(seconds):.0f} to {max(seconds):.0f} s, peak memory {peak:.2f} GB.
"""
    publish("demo", {"runs": runs, "peak_gb": peak}, text)


def demo(case: Case, folder: Path) -> dict[str, Any]:
    """The scores of one demo, and its peak memory; the engine adds the time it took."""
    with tempfile.TemporaryDirectory(dir=folder) as room:
        out = Path(room) / "demo"
        command = [sys.executable, "-m", "matphase", "demo", "--seed", str(case.seed)]
        subprocess.run([*command, "--out", str(out), "--quiet"], check=True)
        content: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    # in kilobytes, of the largest child so far
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    return {**content, "peak_gb": peak}


if __name__ == "__main__":
    main()
