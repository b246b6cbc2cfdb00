"""The demo's scores, its time and its memory, over several seeds.

python benchmarks/demo.py [--seeds 3]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import markdown_table, write_results


def main() -> None:
    """Run the demo for each seed and write results/demo.{json,md}."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    runs = [demo(seed) for seed in range(arguments.seeds)]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    columns = ("ACC", "mIU", "fIU", "ECE")
    rows = [
        [
            name,
            *(
                spread([run["rows"][name]["F1"][phase] for run in runs])
                for phase in runs[0]["phases"]
            ),
            *(spread([run["rows"][name][key] for run in runs]) for key in columns),
        ]
        for name in runs[0]["rows"]
    ]
    gains = [run["rows"]["MatPhase"]["mIU"] - run["rows"]["UGSM"]["mIU"] for run in runs]
    found = {
        key: spread([run["uncertainty"][key] for run in runs]) for key in runs[0]["uncertainty"]
    }
    seconds = [run["seconds"] for run in runs]
    text = f"""# The demo

`python benchmarks/demo.py --seeds {len(runs)}`. Mean ± SD over {len(runs)} seeds (of electrode and
training), preset quick, unseen slices of the same electrode (split blocked), labels as measured.

{markdown_table(["", *(f"F1 {phase}" for phase in runs[0]["phases"]), *columns], rows)}

MatPhase minus UGSM, mIU: {spread(gains)}.

Of UGSM's wrong pixels the IDK set holds {found["idk_recall"]}, with precision
{found["idk_precision"]} and share {found["idk_share"]}. AUROC against UGSM's errors: entropy
{found["entropy_AUROC"]}, IDK score {found["idk_AUROC"]}.

Time {min(seconds):.0f} to {max(seconds):.0f} s, peak memory {peak:.2f} GB.
"""
    write_results("demo", {"runs": runs, "peak_gb": peak}, text)


def demo(seed: int) -> dict[str, Any]:
    """What one demo measured, and how long it took."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        began = time.monotonic()
        command = [sys.executable, "-m", "matphase", "demo", "--seed", str(seed), "--out", str(out)]
        subprocess.run([*command, "--quiet"], check=True)
        content: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return {**content, "seconds": time.monotonic() - began}


def spread(values: list[float]) -> str:
    """Mean and SD."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.3f}"


if __name__ == "__main__":
    main()
