"""Plans, trains and predicts with nnU-Net: the part of nnunet.py that runs in its environment.

    python benchmarks/nnunet_environment/run.py CONFIGURATION SECONDS GPU_MEMORY SEED OUT

nnU-Net's variables name the folders; the raw one holds Dataset001. OUT takes a NAME.npz for each
image to predict, and facts.json.
"""

import importlib
import json
import os
import random
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.paths import nnUNet_raw
from nnunetv2.run.run_training import get_trainer_from_args

DATASET = 1
CPU = torch.device("cpu")


def main(configuration: str, seconds: float, gpu_memory: float, seed: int, out: Path) -> None:
    """Do all three, one after the other, with one thread."""
    make_torchvision_importable()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what nnU-Net draws from
    random.seed(seed)
    began = time.monotonic()
    extract_fingerprints([DATASET], num_processes=1, check_dataset_integrity=True)
    plan_experiments([DATASET], gpu_memory_target_in_gb=gpu_memory)
    preprocess([DATASET], configurations=(configuration,), num_processes=(1,))
    prepared = time.monotonic()
    trainer = get_trainer_from_args(
        str(DATASET), configuration, "all", trainer_name="TimedTrainer", device=CPU
    )
    trainer.budget = seconds
    # not before: planning takes it for a number of threads
    os.environ.update(nnUNet_n_proc_DA="0")
    trainer.disable_checkpointing = True  # the network is used at once, and not kept
    trainer.run_training()
    trained, trained_cpu = time.monotonic(), time.process_time()
    predict(trainer, out)
    plan = trainer.configuration_manager
    facts = {
        "nnunetv2": version("nnunetv2"),
        "torch": torch.__version__,
        "patch": [int(length) for length in plan.patch_size],
        "batch": int(plan.batch_size),
        "features": [int(count) for count in plan.network_arch_init_kwargs["features_per_stage"]],
        "parameters": sum(weights.numel() for weights in trainer.network.parameters()),
        "iterations": trainer.iterations,
        "seconds": {
            "prepare": prepared - began,
            "train": trained - prepared,
            "train_cpu": trainer.seconds,
            "predict": time.monotonic() - trained,
            "predict_cpu": time.process_time() - trained_cpu,
        },
    }
    (out / "facts.json").write_text(json.dumps(facts) + "\n", "utf-8")


def make_torchvision_importable() -> None:
    """Declare operators that torchvision lacks beside a CPU build of torch, where it does.

    nnU-Net's networks import it, and need none of them. `matphase.networks.torchvision_shim` is the
    same, but MatPhase is not installed here.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for name in ("nms", "qnms"):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{name}", signature)


def predict(trainer, out: Path) -> None:  # type: ignore[no-untyped-def]
    """Predict the images in imagesTs with nnU-Net's defaults: overlapping patches, mirrored."""
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(device=CPU, perform_everything_on_device=False, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        [trainer.network.state_dict()],
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    images = Path(nnUNet_raw) / trainer.plans_manager.dataset_name / "imagesTs"
    predictor.predict_from_files_sequential(str(images), str(out), save_probabilities=True)


if __name__ == "__main__":
    name, seconds, gpu_memory, seed, out = sys.argv[1:]
    main(name, float(seconds), float(gpu_memory), int(seed), Path(out))
