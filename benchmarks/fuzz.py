"""Damaged and hostile input: every reader refuses it in one sentence, soon, in little memory.

    python benchmarks/fuzz.py [--tries 10000] [--seed 0] [--publish]

A small world is made once: images of every format, a model, predictions, an interrupted training,
settings. Each try forks this process, which has imported everything, copies one thing of that
world, damages the copy, and reads it as a user would. The random generator of try n depends on the
seed and n alone, so `--only N` repeats one try and prints what it said.

Counted as failures:

- traceback: any error that is not one sentence on one line;
- hang: more than 5 s of processor time, or 20 s of waiting;
- peak: more than 1 GB of memory, libraries included;
- touched: a file outside of the outputs was made, changed or removed;
- invented: a different value from damage that the format lets a reader detect.

Other values that differ from those of the undamaged copy are listed with the reason why the format
cannot tell.
"""

import argparse
import gc
import hashlib
import io
import json
import math
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from common import publish
from typer.testing import CliRunner

import matphase as mp
from matphase.cli import app
from matphase.method import model_folder
from matphase.reproduce.page import grid
from matphase.settings import Settings
from matphase.support.manifest import MANIFEST, write_manifest
from matphase.support.seeds import mix
from matphase.virtual import Recipe

# what commands import when they are called is imported once, before the forks
for _name in ("demo", "properties.front", "images.formats.ome_zarr_writing", "show.curves"):
    import_module(f"matphase.{_name}")

PROCESSOR_SECONDS, WAITING_SECONDS, PEAK_BYTES = 5, 20, 10**9
"""Limits of a try."""
TRIES = 10_000
TINY = {
    "data": {"copies": 1, "smooth_labels": False, "crop": 32},
    "ugsm": {"width": 4, "depth": 1, "epochs": 1, "batch_size": 4, "samples": 2},
    "idk": {"epochs": 1, "pixels_per_image": 100, "batch_size": 64},
    "lcgar": {"epochs": 1, "batch_size": 64, "pixels_per_image": 60},
}
LABEL_MAP = "pore=0,carbon=1,nickel=2"
PLANTED = ("thesis.docx", "out_notes.tif", "other.tif")
"""Files of the user that lie beside everything, and that no try may touch."""

Rng = np.random.Generator
Value = str
"""Hash of what was read."""


# --- the world ------------------------------------------------------------------------------------


def build(world: Path) -> None:
    """Make the undamaged world in a folder."""
    rng = np.random.default_rng(0)
    rows = np.arange(48)[:, None] // 8 % 3
    labels = np.broadcast_to(rows, (4, 48, 40)).astype(np.uint8).copy()
    grey = (np.array([10.0, 25.0, 80.0])[labels] + rng.normal(0, 4, labels.shape)).astype("f4")
    whole = mp.Volume.from_array(grey, voxel_size=0.2, unit="um")
    narrow = mp.Volume.from_array(grey.clip(0, 255).astype("u1"), voxel_size=0.2, unit="um")
    plane = mp.Volume.from_array(narrow.slice(0), voxel_size=0.2, unit="um")
    (world / "images").mkdir(parents=True)
    for name in ("stack.tif", "stack.ome.tif", "stack.h5"):
        mp.save(world / "images" / name, whole)
    mp.save(world / "images" / "plain.tif", narrow, compress=False)
    mp.save(world / "images" / "slice.png", mp.Volume.from_array(plane.slice(0)))
    for folder, suffix in (("tifs", ".tif"), ("pngs", ".png")):
        (world / "images" / folder).mkdir()
        for number in range(3):
            one = mp.Volume.from_array(narrow.slice(number))
            mp.save(world / "images" / folder / f"s{number}{suffix}", one)
    mp.save(world / "images" / "v5.ome.zarr", narrow)
    mp.save(world / "images" / "v4.ome.zarr", narrow, ome_version="0.4")
    shutil.make_archive(
        str(world / "images" / "v5.ome.zarr"), "zip", world / "images" / "v5.ome.zarr"
    )
    sizes, raw = " ".join(map(str, grey.shape[::-1])), np.ascontiguousarray(grey).tobytes()
    nrrd = f"NRRD0004\ntype: float\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n\n"
    (world / "images" / "stack.nrrd").write_bytes(nrrd.encode() + raw)
    meta = f"ObjectType = Image\nNDims = 3\nDimSize = {sizes}\nElementType = MET_FLOAT\n"
    (world / "images" / "stack.mha").write_bytes(f"{meta}ElementDataFile = LOCAL\n".encode() + raw)
    mp.save(world / "grey.tif", whole)
    mp.save(world / "labels.tif", mp.Volume.from_array(labels, voxel_size=0.2, unit="um"))
    settings = Settings.from_mapping(TINY)
    (world / "tiny.toml").write_text(tomli_w.dumps(settings.model_dump()), "utf-8")
    (world / "recipe.toml").write_text(Recipe.named("paper").to_toml(), "utf-8")
    model = mp.MatPhase(settings=settings).fit(grey, labels, ["pore", "carbon", "nickel"])
    model.save(world / "model")
    result = model.predict(whole, keep_samples=True)
    for name in ("tif", "zarr"):
        (world / f"predicted_{name}").mkdir()
        suffix = ".ome.zarr" if name == "zarr" else ".tif"
        result.save(world / f"predicted_{name}" / f"out{suffix}")
    training = world / "training" / "model.partial"
    training.mkdir(parents=True)
    mp.MatPhase(settings=settings).fit(
        mp.open(world / "grey.tif"),
        mp.open(world / "labels.tif"),
        {"pore": 0, "carbon": 1, "nickel": 2},
        folder=training,
    )
    for name in PLANTED:
        (world / name).write_text("years of work", "utf-8")


# --- reading, as a user would ---------------------------------------------------------------------


def image_value(path: Path) -> Value:
    """Hash of voxels, voxel size and unit."""
    volume = mp.open(path)
    # of a huge volume, which may be larger than the memory, a part is read
    huge = math.prod(volume.shape) * volume.dtype.itemsize > 2**27
    array = volume[tuple(slice(0, 8) for _ in volume.shape)] if huge else volume.to_array()
    facts = f"{array.dtype}{array.shape}{volume.voxel_size}{volume.unit}"
    return _hash(facts.encode(), np.ascontiguousarray(array).tobytes())


def model_value(path: Path) -> Value:
    """Hash of settings, phases, grey scale and weights."""
    model = model_folder.read(path)
    weights = [
        tensor.numpy().tobytes()
        for network in model.networks.values()
        for tensor in network.state_dict().values()
    ]
    facts = f"{model.settings}{model.phases}{model.scale}{model.seed}"
    learned = f"{model.calibrator}{model.validation and model.validation.to_json()}"
    return _hash(facts.encode(), learned.encode(), *weights)


def prediction_value(path: Path) -> Value:
    """Hash of all maps of a prediction."""
    result = mp.open_prediction(path)
    repr(result), result.record.get("seconds"), result.validation
    parts = [np.ascontiguousarray(np.asarray(getattr(result, name))) for name in result.maps]
    facts = f"{result.maps}{result.phases}{result.voxel_size}{result.volume_fractions()}"
    return _hash(facts.encode(), *(part.tobytes() for part in parts))


def settings_value(path: Path) -> Value:
    """Hash of the settings in a file."""
    return _hash(str(Settings.preset("quick").with_file(path)).encode())


def recipe_value(path: Path) -> Value:
    """Hash of a recipe of a virtual electrode."""
    return _hash(str(Recipe.from_file(path)).encode())


def called(*words: object) -> Value:
    """Run the command line; its own refusals come as `mp.MatPhaseError`."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    if done.exit_code == 1:
        text = done.stderr
        if not (text.startswith("matphase: ") and text.count("\n") == 1):
            raise AssertionError(f"more than one line: {text[:300]!r}")
        raise mp.MatPhaseError(text)
    return "" if done.exit_code else _hash(done.stdout.encode())


def _hash(*parts: bytes) -> Value:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


# --- damage ---------------------------------------------------------------------------------------


def flipped(data: bytes, rng: Rng) -> bytes:
    """Some bits of one to eight bytes changed."""
    changed = bytearray(data)
    for place in rng.integers(0, len(data), rng.integers(1, 9)):
        changed[place] ^= int(rng.integers(1, 256))
    return bytes(changed)


def truncated(data: bytes, rng: Rng) -> bytes:
    """The end is missing."""
    return data[: int(rng.integers(0, len(data)))]


def swapped(data: bytes, rng: Rng) -> bytes:
    """Two pieces of the same length exchanged."""
    size = int(rng.integers(1, max(2, len(data) // 4)))
    a, b = sorted(rng.integers(0, max(1, len(data) - size), 2).tolist())
    b = max(b, a + size)
    return (
        data[:a] + data[b : b + size] + data[a + size : b] + data[a : a + size] + data[b + size :]
    )


def overwritten(data: bytes, rng: Rng) -> bytes:
    """A piece replaced by zeros, ones or noise."""
    size = int(rng.integers(1, max(2, len(data) // 2)))
    start = int(rng.integers(0, len(data)))
    piece = (bytes(size), b"\xff" * size, rng.bytes(size))[rng.integers(3)]
    return data[:start] + piece + data[start + size :]


def big_number(data: bytes, rng: Rng) -> bytes:
    """A number of 2, 4 or 8 bytes replaced by an extreme one, as in a header."""
    size = int(rng.choice([2, 4, 8]))
    number = int(rng.choice([0, 1, 255])) or (1 << (8 * size - int(rng.integers(0, 9)))) - 1
    start = int(rng.integers(0, min(len(data), 512)))
    order = "little" if rng.integers(2) else "big"
    return data[:start] + number.to_bytes(size, order) + data[start + size :]  # type: ignore[arg-type]


def emptied(_: bytes, __: Rng) -> bytes:
    """Nothing is left."""
    return b""


def extended(data: bytes, rng: Rng) -> bytes:
    """Other bytes follow."""
    return data + rng.bytes(int(rng.integers(1, 2000)))


BYTES = (flipped, flipped, truncated, swapped, overwritten, big_number, emptied, extended)

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 10**9, 2**31, 2**63 - 1, 2**63, 10**30, 0.5, -0.5, 1e-320),
    *(1e308, -1e308, float("inf"), float("-inf"), float("nan"), "", ".", "..", "/", "\0", "a\0b"),
    *("../other.tif", "/etc/passwd", "thesis.docx", "x" * 10_000, "\ud800", "1", "inf", "é"),
    *([], {}, [[]], [""], ["."], ["\0"], ["../other.tif"], [1] * 1000, {"": 0}, {"a": {"b": {}}}),
)


def reshaped(content: Any, rng: Rng) -> Any:
    """JSON or TOML with one value replaced, removed, moved or doubled."""
    places = list(_places(content))
    if not places:
        return ODD[rng.integers(len(ODD))]
    where, key = places[rng.integers(len(places))]
    match rng.integers(5):
        case 0 | 1 | 2:
            where[key] = ODD[rng.integers(len(ODD))]
        case 3:
            del where[key]
        case _:
            other, name = places[rng.integers(len(places))]
            where[key] = json.loads(json.dumps(other[name], default=str))
    return content


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(pairs):
        yield content, key
        if isinstance(value, dict | list):
            yield from _places(value)


def odd_json(data: bytes, rng: Rng) -> bytes:
    """A record whose values are odd, or that is deep, long or of another kind."""
    raw = (b"[" * 100_000, b'{"a":' * 50_000, b"null", b"3", b'"x"', b"NaN", b"[1," * 3000)
    if rng.random() < 0.15:
        return raw[rng.integers(len(raw))]
    return json.dumps(reshaped(json.loads(data), rng)).encode()


def odd_toml(data: bytes, rng: Rng) -> bytes:
    """Settings whose values are odd, or that are deep or long."""
    raw = (
        *(
            b"a" + b".a" * 100_000 + b" = 1",
            b"[" + b"a." * 100_000 + b"a]",
            b"a = " + b"[" * 50_000,
        ),
        *(b"a = " + b"{a = " * 5000, b"ugsm.width = 1" + b"0" * 4000, b"a = '''", b"\xff\xfe"),
        *(b"seed = inf", b"[ugsm]\nwidth = nan", b"[ugsm]\nsamples = 1000000000", b"x = 07:32:00"),
    )
    if rng.random() < 0.2:
        return raw[rng.integers(len(raw))]
    import tomllib

    content = reshaped(tomllib.loads(data.decode()), rng)
    try:
        return tomli_w.dumps(content).encode()
    except (TypeError, AttributeError, UnicodeEncodeError):  # TOML has no null
        return tomli_w.dumps({"ugsm": {"width": str(content)[:100]}}).encode()


def unusual(path: Path, rng: Rng) -> str:
    """A file or folder replaced by what is neither: a pipe, a device, a link, nothing."""
    kind = ["pipe", "device", "loop", "broken link", "link", "folder", "missing", "case"][
        rng.integers(8)
    ]
    target = path.with_name(f"moved-{path.name}")
    path.replace(target)
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "broken link":
            path.symlink_to("/nowhere/at/all")
        case "link":
            path.symlink_to(Path("../thesis.docx").resolve())
        case "folder":
            path.mkdir()
        case "case":
            target.replace(path.with_name(path.name.swapcase()))
    if kind != "link":
        shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink(
            missing_ok=True
        )
    else:
        target.unlink() if target.is_file() else shutil.rmtree(target)
    return kind


def damage(thing: Path, rng: Rng) -> str:
    """Damage a file, or something in a folder; gives the name of what was done."""
    files = [path for path in sorted(thing.rglob("*")) if path.is_file()] or [thing]
    path = files[rng.integers(len(files))]
    choice = rng.random()
    if choice < 0.08:
        return unusual(path, rng)
    if choice < 0.12 and thing.is_dir():
        folder = path.parent
        name = str(rng.choice(["notes.txt", "out_ugsm.tif", "x.safetensors", "zarr.json", "0"]))
        if not (folder / name).exists():
            (folder / name).write_bytes(rng.bytes(100))
        return "foreign file"
    readers = {".json": odd_json, ".toml": odd_toml, ".zattrs": odd_json, ".zarray": odd_json}
    odd = readers.get(path.suffix or path.name)
    how = odd if odd is not None and rng.random() < 0.75 else BYTES[rng.integers(len(BYTES))]
    data = path.read_bytes()
    path.write_bytes(how(data, rng) if data else rng.bytes(10))
    return f"{how.__name__} {path.suffix or path.name}"


# --- what is tried --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One kind of try.

    Attributes:
        name: for the tables.
        share: how often it is drawn.
        things: what is copied from the world.
        damaged: which of these is damaged; empty for wrong options.
        read: what is done with it in the folder of the copies, with the thing and a generator.
        outputs: beginnings of the names that it may write.
    """

    name: str
    share: float
    things: tuple[str, ...]
    damaged: str
    read: Callable[[Path, Rng], Value]
    outputs: tuple[str, ...] = ()


IMAGES = ("stack.tif", "stack.ome.tif", "plain.tif", "slice.png", "tifs", "pngs", "stack.h5")
IMAGES += ("stack.nrrd", "stack.mha")
STORES = ("v5.ome.zarr", "v4.ome.zarr", "v5.ome.zarr.zip")


def signed_again(path: Path) -> None:
    """Write a manifest that fits, as somebody would who changes a model on purpose."""
    if path.is_dir() and all(one.is_file() and not one.is_symlink() for one in path.iterdir()):
        (path / MANIFEST).unlink(missing_ok=True)
        write_manifest(path)


def _read_prediction(path: Path, rng: Rng) -> Value:
    labels = next((one for one in ("out.tif", "out.ome.zarr") if (path / one).exists()), "out.tif")
    match rng.integers(3):
        case 0:
            called("evaluate", path / labels, "labels.tif")
        case 1:
            called("measure", path / labels, "--groups", "fractions")
        case _:
            pass
    return prediction_value(path / labels)


def _predict_again(path: Path, _: Rng) -> Value:
    suffix = ".ome.zarr" if (path / "out_ugsm.ome.zarr").exists() else ".tif"
    labels = path / f"out{suffix}"
    words = ["predict", "model", "grey.tif", "--out", labels, "--samples", "1", "--overwrite"]
    called(*words)
    return "written"


def _resume(path: Path, rng: Rng) -> Value:
    words = ["train", "--images", "grey.tif", "--labels", "labels.tif", "--label-map", LABEL_MAP]
    words += ["--config", "tiny.toml", "--out", str(path / "model")]
    words += ["--resume"] if rng.random() < 0.8 else ["--overwrite"]
    called(*words)
    return model_value(path / "model")


TEXTS = (
    *("", " ", ".", "..", "/", "-", "0", "-1", "1e9", "1e308", "1e-320", "nan", "inf", "-inf"),
    *("9" * 400, "x" * 5000, "a,b,c", "a=1", "pore=0", "pore=0,pore=1", LABEL_MAP, "=,=", "é"),
    *("grey.tif", "labels.tif", "model", "thesis.docx", "nothing.tif", "tiny.toml", "/dev/zero"),
    *("model/x.tif", "grey.tif/x", "0:10:0", "0:99999999999", "1,1,1", "0.2,0.1,0.1", "[" * 3000),
    *(
        "a" + ".a" * 3000 + "=1",
        "ugsm.width=inf",
        "ugsm.samples=1000000000",
        "seed=1",
        "\udcff",
    ),
)
WORLD = {"grey.tif", "labels.tif", "model", "thesis.docx", "tiny.toml", "predicted_tif", "..", "/"}
"""What is there already, so that no output may have its name."""
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "info": (
        ["grey.tif"],
        ["--model", "--memory", "--samples", "--voxel-size", "--unit", "--json"],
    ),
    "evaluate": (["predicted_tif/out.tif", "labels.tif"], ["--label-map", "--json"]),
    "measure": (
        ["labels.tif", "--label-map", LABEL_MAP, "--groups", "fractions"],
        [
            *("--label-map", "--voxel-size", "--unit", "--groups", "--axes", "--roles", "--json"),
            *("--conductivities", "--csv", "--pybamm", "--bpx", "--bpx-template", "--memory"),
        ],
    ),
    "predict": (
        ["model", "grey.tif", "--out", "new.tif", "--samples", "1"],
        ["--out", "--memory", "--seed", "--intensity", "--voxel-size", "--unit"],
    ),
    "align": (
        ["model", "--images", "grey.tif", "--labels", "labels.tif", "--out", "new"],
        ["--images", "--labels", "--out", "--label-map", "--label-slices"],
    ),
    "simulate": (
        ["new", "--shape", "2,32,32", "--recipe", "easy"],
        ["--recipe", "--seed", "--cnr", "--labels", "--label-map", "--voxel-size"],
    ),
    "train": (
        [
            *("--images", "grey.tif", "--labels", "labels.tif", "--label-map", LABEL_MAP),
            *("--config", "tiny.toml", "--out", "new"),
        ],
        [
            *("--images", "--labels", "--label-map", "--out", "--label-slices", "--preset"),
            *("--model", "--config", "--set", "--seed", "--validation-images", "--devices"),
        ],
    ),
}
"""Words that work, and the options that take a value."""


def _wrong_options(_: Path, rng: Rng) -> Value:
    verb = list(COMMANDS)[rng.integers(len(COMMANDS))]
    words, options = COMMANDS[verb]
    words = list(words)
    for _again in range(int(rng.integers(1, 3))):
        text = TEXTS[rng.integers(len(TEXTS))]
        option = options[rng.integers(len(options))]
        if option in words and rng.random() < 0.7:
            words[words.index(option) + 1] = text
        elif rng.random() < 0.15:
            words[rng.integers(len(words))] = text
        else:
            words += [option, text]
    if verb == "train" and "--devices" in words:
        words += ["--set", "ugsm.epochs=0"]  # refused before other processes are started
    called(verb, *words)
    return "done"


CASES = (
    *(
        Case(f"image {one}", 3, (f"images/{one}",), one, lambda path, _: image_value(path))
        for one in IMAGES
    ),
    *(
        Case(f"image {one}", 5, (f"images/{one}",), one, lambda path, _: image_value(path))
        for one in STORES
    ),
    Case("model", 22, ("model",), "model", lambda path, _: model_value(path)),
    *(
        Case(
            f"prediction {name}", 9, (f"predicted_{name}", "labels.tif"), f"predicted_{name}", read
        )
        for name, read in (("tif", _read_prediction), ("zarr", _read_prediction))
    ),
    *(
        Case(
            f"predict over {name}",
            2,
            (f"predicted_{name}", "model", "grey.tif"),
            f"predicted_{name}",
            _predict_again,
            (f"predicted_{name}/out", f"predicted_{name}/.out"),
        )
        for name in ("tif", "zarr")
    ),
    Case(
        "training",
        4,
        ("training", "grey.tif", "labels.tif", "tiny.toml"),
        "training",
        _resume,
        ("training/",),
    ),
    Case("settings", 10, ("tiny.toml",), "tiny.toml", lambda path, _: settings_value(path)),
    Case("recipe", 6, ("recipe.toml",), "recipe.toml", lambda path, _: recipe_value(path)),
    Case(
        "options",
        14,
        ("grey.tif", "labels.tif", "model", "predicted_tif", "tiny.toml"),
        "",
        _wrong_options,
        (
            "new",
            ".new",
            "nothing",
            *(text for text in TEXTS if text and not (WORLD & {*Path(text).parts})),
        ),
    ),
)

REASONS = {
    "tif": "TIFF has no checksum of voxels or of tags; damage that still decodes cannot be told",
    "png": "the checksums of PNG cover its chunks, not names or bytes after the last one",
    "h5": "HDF5 has no checksum of values or attributes, unless the writer asks for one",
    "zarr": "the checksums of Zstandard cover chunks; metadata, and chunks that are missing and so "
    "have the fill value, have none",
    "nrrd": "NRRD has no checksum",
    "mha": "MetaImage has no checksum",
    "folder": "a folder of slices has no list of its files",
    "json": "a record is readable text without a checksum",
    "model": "signed anew after the change, as its owner may do",
    "toml": "settings are meant to be changed; each is checked on its own",
}


def reason(case: Case, how: str) -> str | None:
    """Why the format cannot tell; None where it could."""
    if case.name == "model":
        return REASONS["model"] if how.endswith("signed again") else None
    if case.name.startswith(("settings", "recipe")):
        return REASONS["toml"]
    if case.name in ("training", "options") or case.name.startswith("predict over"):
        return None
    if ".json" in how and case.name.startswith("prediction") and "zarr" not in case.name:
        return REASONS["json"]
    if case.name in ("image tifs", "image pngs") and (
        how in ("missing", "case", "foreign file", "link", "folder", "broken link", "loop")
        or how in ("pipe", "device")
    ):
        return REASONS["folder"]
    for part in ("tif", "png", "h5", "zarr", "nrrd", "mha"):
        if part in case.name:
            return REASONS[part]
    return None


# --- one try --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What came of a try.

    Attributes:
        number: of the try.
        case: its name.
        how: the damage.
        kind: refused, same, different, or a failure.
        says: message, or what went wrong.
    """

    number: int
    case: str
    how: str
    kind: str
    says: str


def attempt(
    number: int,
    seed: int,
    world: Path,
    room: Path,
    values: dict[str, Value],
    run: Callable[[Case, Path, Rng, Path], tuple[str, str]],
) -> Outcome:
    """One try; `run` reads what was damaged, in a fork or in this process."""
    rng = np.random.default_rng(mix(seed, "fuzz", number))
    shares = np.array([case.share for case in CASES])
    case = CASES[rng.choice(len(CASES), p=shares / shares.sum())]
    folder = room / "user"
    prepared(case, world, folder)
    if case.damaged:
        os.chdir(folder)
        how = damage(folder / Path(case.damaged).name, rng)
        os.chdir("/")
        if case.name == "model" and MANIFEST not in how and rng.random() < 0.6:
            signed_again(folder / "model")
            how += ", signed again"
    else:
        how = "options"
    before = _tree(room, folder, case)
    kind, says = run(case, folder, rng, room / "report")
    after = _tree(room, folder, case)
    if kind in ("refused", "value") and before != after:
        changed = sorted(set(before.items()) ^ set(after.items()))
        kind, says = "touched", f"{changed[0][0]} ({says})"
    if kind == "value":
        known = values.get(case.name)
        if known is None or says == known:
            kind = "same"
        else:
            kind = "invented" if reason(case, how) is None else "different"
    shutil.rmtree(room)
    room.mkdir()
    return Outcome(number, case.name, how, kind, says[:300])


def together(
    numbers: range, seed: int, world: Path, room: Path, values: dict[str, Value]
) -> list[Outcome]:
    """Several tries in one fork, which saves time; those that fail are tried again alone."""
    report = room.with_name("reports")
    report.write_text("")
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            _limit_memory()
            for number in numbers:
                soft = int(time.process_time()) + PROCESSOR_SECONDS + 1
                resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
                outcome = attempt(number, seed, world, room, values, inside)
                with report.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps(asdict(outcome)) + "\n")
                if outcome.kind == "peak":
                    break
        finally:
            os._exit(0)
    end = time.monotonic() + WAITING_SECONDS + len(numbers)
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.002)
    found = [Outcome(**json.loads(line)) for line in report.read_text("utf-8").splitlines()]
    known = {one.number: one for one in found if one.kind not in FAILURES}
    for number in numbers:
        if number not in known:
            shutil.rmtree(room)
            room.mkdir()
            known[number] = attempt(number, seed, world, room, values, forked)
    return [known[number] for number in numbers]


def inside(case: Case, folder: Path, rng: Rng, _: Path) -> tuple[str, str]:
    """Read what was damaged in this process."""
    os.chdir(folder)
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        found = told(case, folder, rng)
    os.chdir("/")
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > PEAK_BYTES:
        return "peak", "with others"
    return found


def _limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * PEAK_BYTES,) * 2)


def prepared(case: Case, world: Path, folder: Path) -> None:
    """Copy what a try needs, and plant what it must not touch."""
    folder.mkdir(parents=True)
    for name in PLANTED:
        for place in (folder, folder.parent):
            shutil.copy(world / name, place / name)
    for thing in case.things:
        source, target = world / thing, folder / Path(thing).name
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        if source.is_dir() and Path(thing).name.startswith("predicted"):
            for name in PLANTED:
                shutil.copy(world / name, target / name)


def forked(case: Case, folder: Path, rng: Rng, report: Path) -> tuple[str, str]:
    """Run a try in a child; gives "value" or "refused" or a failure, and what it says."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR_SECONDS,) * 2)
            _limit_memory()
            os.chdir(folder)
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                found = told(case, folder, rng)
            report.write_text(json.dumps(found), "utf-8")
            status = 0
        finally:
            os._exit(status)
    began = time.monotonic()
    while True:
        done, status, usage = os.wait4(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - began > WAITING_SECONDS:
            os.killpg(child, signal.SIGKILL)
            os.wait4(child, 0)
            return "hang", f"waited {WAITING_SECONDS} s"
        time.sleep(0.002)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in (signal.SIGXCPU, signal.SIGKILL):
            return "hang", f"used {PROCESSOR_SECONDS} s of processor time"
        return "traceback", f"ended by signal {number}"
    if usage.ru_maxrss * 1024 > PEAK_BYTES:
        return "peak", f"{usage.ru_maxrss / 1e6:.2f} GB"
    if status or not report.exists():
        return "traceback", f"ended with status {status}"
    kind, says = json.loads(report.read_text("utf-8"))
    return kind, says


def told(case: Case, folder: Path, rng: Rng) -> tuple[str, str]:
    """What a try gives, inside the child."""
    try:
        return "value", case.read(folder / Path(case.damaged or ".").name, rng)
    except mp.MatPhaseError as error:
        text = str(error).rstrip("\n")
        if "\n" in text:
            return "traceback", f"more than one line: {text}"
        return "refused", text.encode("utf-8", "replace").decode()
    except MemoryError:
        return "peak", "out of memory"
    except BaseException as error:
        import traceback

        last = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
        return "traceback", text.encode("utf-8", "replace").decode()


def _tree(room: Path, folder: Path, case: Case) -> dict[str, str]:
    """Checksums of all files but the outputs."""
    found = {}
    for place, folders, files in os.walk(room):
        for name in (*files, *folders):
            path = Path(place) / name
            inside = path.relative_to(folder).as_posix() if folder in path.parents else ""
            if path == room / "report" or (inside and inside.startswith(case.outputs or ("\0",))):
                continue
            if path.is_symlink():
                found[str(path.relative_to(room))] = str(path.readlink())
            elif path.is_file():
                found[str(path.relative_to(room))] = _hash(path.read_bytes())
            else:
                found[str(path.relative_to(room))] = "no file"
    return found


# --- all tries ------------------------------------------------------------------------------------


def fuzz(tries: range, seed: int, folder: Path, batch: int = 1) -> list[Outcome]:
    """All tries, one after the other.

    Args:
        tries: their numbers.
        seed: random seed of all of them.
        folder: empty folder to work in, of short access time.
        batch: tries in one fork.
    """
    world, room = folder / "world", folder / "room"
    child = os.fork()
    if child == 0:  # so that this process stays without threads, which would not survive forking
        try:
            build(world)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("the world could not be made")
    room.mkdir()
    values = {}
    for case in CASES:
        if case.damaged and not case.name.startswith("predict over"):
            prepared(case, world, room / "user")
            kind, says = forked(case, room / "user", np.random.default_rng(5), room / "report")
            if kind != "value":
                raise SystemExit(f"{case.name} cannot be read undamaged: {kind}, {says}")
            values[case.name] = says
            shutil.rmtree(room)
            room.mkdir()
    before = _tree(world, world, CASES[0])
    # a collection would touch, and so copy, most of the memory that the forks share
    gc.collect()
    gc.freeze()
    gc.disable()
    outcomes = []
    for start in range(0, len(tries), batch):
        numbers = tries[start : start + batch]
        if batch > 1:
            found = together(numbers, seed, world, room, values)
        else:
            found = [attempt(numbers[0], seed, world, room, values, forked)]
        for one in found:
            if one.kind in FAILURES:
                print(one, flush=True)
        outcomes += found
    if _tree(world, world, CASES[0]) != before:
        outcomes.append(Outcome(-1, "world", "", "touched", "the world itself"))
    return outcomes


FAILURES = ("traceback", "hang", "peak", "touched", "invented")


def counts(outcomes: list[Outcome]) -> dict[str, int]:
    """Numbers of all failures, and of other values without a reason."""
    found = Counter(one.kind for one in outcomes)
    return {"tries": len(outcomes), **{kind: found[kind] for kind in FAILURES}}


def page(outcomes: list[Outcome], seed: int) -> tuple[str, dict[str, Any]]:
    """Markdown and content of the results."""
    kinds = ("refused", "same", "different", *FAILURES)
    rows = []
    for name in dict.fromkeys(case.name for case in CASES):
        found = Counter(one.kind for one in outcomes if one.case == name)
        rows.append([name, str(sum(found.values())), *(str(found[kind]) for kind in kinds)])
    total = Counter(one.kind for one in outcomes)
    rows.append(["all", str(len(outcomes)), *(str(total[kind]) for kind in kinds)])
    by_name = {case.name: case for case in CASES}
    silent = Counter(
        (one.case, one.how, reason(by_name[one.case], one.how))
        for one in outcomes
        if one.kind == "different"
    )
    lines = [[case, how, str(number), why] for (case, how, why), number in sorted(silent.items())]
    text = "\n\n".join(
        [
            "# Damaged and hostile input",
            f"`python benchmarks/fuzz.py --tries {len(outcomes)} --seed {seed} --publish`. The "
            "docstring says what each column counts. The limits are those of a process with all "
            "libraries loaded, which take about 0.5 GB of the 1 GB.",
            grid(["what was read", "tries", *kinds], rows),
            "## Other values",
            "Damage that was read without an error, with another value than the undamaged copy.",
            grid(
                ["what was read", "damage", "tries", "why the format cannot tell"], lines, words=2
            ),
        ]
    )
    content = {
        "seed": seed,
        **counts(outcomes),
        "by_case": {
            row[0]: dict(zip(("tries", *kinds), map(int, row[1:]), strict=True)) for row in rows
        },
        "silent": [
            dict(zip(("case", "damage", "tries", "reason"), line, strict=True)) for line in lines
        ],
    }
    return text, content


def main() -> None:
    """Try everything, and write the results if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=TRIES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=1, help="tries in one fork, which is faster")
    parser.add_argument("--only", type=int, help="repeat one try")
    parser.add_argument("--publish", action="store_true", help="write results/fuzz.md and .json")
    arguments = parser.parse_args()
    tries = range(arguments.tries)
    if arguments.only is not None:
        tries = range(arguments.only, arguments.only + 1)
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        outcomes = fuzz(tries, arguments.seed, Path(folder), arguments.batch)
    text, content = page(outcomes, arguments.seed)
    if arguments.only is not None:
        print(outcomes[0])
    if arguments.publish:
        publish("fuzz", content, text)
    found = counts(outcomes)
    print(json.dumps(found))
    sys.exit(any(found[kind] for kind in FAILURES))


if __name__ == "__main__":
    main()
