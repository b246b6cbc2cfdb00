import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tomli_w
from annotated_types import Le, Lt
from pydantic.fields import FieldInfo

from matphase.settings import (
    SamplingSettings,
    Settings,
    TrainingSettings,
    UGSMSettings,
    UNetSettings,
)
from matphase.support.checked import CheckedSettings
from matphase.support.errors import InputError


@pytest.mark.parametrize("name", ["auto", "quick", "small", "best", "paper"])
def test_presets_load_and_are_unlike(name: str) -> None:
    others = [
        Settings.preset(other) for other in {"auto", "quick", "small", "best", "paper"} - {name}
    ]
    assert Settings.preset(name) not in others


def test_the_paper_preset_has_the_numbers_of_the_paper() -> None:
    paper = Settings.preset("paper")
    assert paper.data.copies == 10
    assert (paper.ugsm.epochs, paper.ugsm.batch_size) == (100, 20)
    assert (paper.ugsm.dropout, paper.ugsm.dropout_kind, paper.ugsm.samples) == (0.5, "element", 20)
    assert (paper.idk.epochs, paper.idk.batch_size) == (15, 1024)
    assert (paper.lcgar.epochs, paper.lcgar.batch_size, paper.lcgar.h) == (15, 1024, 11)
    assert paper == Settings(), "the defaults are the paper's"


def test_best_is_small_but_for_what_goes_beyond_the_paper() -> None:
    changes = {
        "align": {"after": 0.5},
        "ugsm": {"slices": 5, "dropout": 0.1},
        "usi": {"order": "none"},
        "lcgar": {"slices": 5, "padding": "image"},
        "calibration": {"scaling": "auto", "align": True},
    }
    assert Settings.preset("best") == Settings.preset("small").updated(changes)


@pytest.mark.parametrize("name", ["", "fast", "../quick", "quick.toml", "Paper"])
def test_a_preset_that_there_is_not(name: str) -> None:
    with pytest.raises(InputError, match="choose auto, quick, small, best or paper"):
        Settings.preset(name)


@pytest.mark.parametrize("name", ["auto", "quick", "small", "best", "paper"])
def test_settings_survive_a_file(tmp_path: Path, name: str) -> None:
    settings = Settings.preset(name).updated({"idk": {"tune_recall": 0.9, "folds": 3}})
    path = tmp_path / "settings.toml"
    path.write_text(tomli_w.dumps(settings.model_dump()), "utf-8")
    assert Settings().with_file(path).model_dump(exclude_none=True) == settings.model_dump(
        exclude_none=True
    )


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("[ugsm]\nepochs = 3\n", "utf-8")
    small = Settings.preset("small")
    changed = small.with_file(path)
    assert changed.ugsm == small.ugsm.model_copy(update={"epochs": 3})
    assert changed.model_copy(update={"ugsm": small.ugsm}) == small


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ugsm": {"epochs": 0}}, r"ugsm\.epochs: .*must be greater than or equal to 1; got 0"),
        ({"ugsm": {"dropout": 1}}, r"ugsm\.dropout: must be less than 1; got 1$"),
        ({"ugsm": {"learning_rate": float("nan")}}, r"ugsm\.learning_rate: .*got nan"),
        ({"ugsm": {"dropout_kind": "pixel"}}, r"ugsm\.dropout_kind: .*'element' or 'channel'"),
        ({"ugsm": {"depth": 9}}, r"ugsm\.depth"),
        ({"data": {"crop": 16}}, r"data\.crop: must be 0 .* 32 px; got 16$"),
        ({"data": {"neighbors": 5}}, r"data\.neighbors"),
        ({"idk": {"folds": 1}}, r"idk\.folds: must be 0 \(off\) or at least 2; got 1$"),
        ({"idk": {"target": "right"}}, r"idk\.target: .*'wrong' or 'gain'"),
        ({"aggregator": {"fusion": "mean"}}, r"aggregator\.fusion: .*'replace' or 'soft'"),
        ({"lcgar": {"h": 10}}, r"lcgar\.h: must be odd, .* got 10$"),
        ({"lcgar": {"padding": "none"}}, r"lcgar\.padding: .*'zeros' or 'image'"),
        ({"lcgar": {"padding": "image", "h": 3}}, r"lcgar: h must be at least 5 .*; got 3$"),
        ({"lcgar": {"image": False, "labels": False}}, "lcgar: image and labels are both false"),
        ({"usi": {"start": 0}}, r"usi\.start"),
        ({"usi": {"pacing": "cubic"}}, r"usi\.pacing"),
        ({"precision": "float16"}, "precision"),
        (
            {"calibration": {"scaling": "platt"}},
            r"calibration\.scaling: .*'temperature', 'vector' or 'auto'",
        ),
        ({"calibration": {"risk": 1}}, r"calibration\.risk: must be less than 1; got 1$"),
        ({"calibration": {"block": [8, 0, 32]}}, r"calibration\.block\.1"),
        ({"lgcar": {}}, r"there is no setting 'lgcar'; did you mean 'lcgar'\?$"),
        ({"idk": {"treshold": 1}}, r"no setting 'idk\.treshold'; did you mean 'idk\.threshold'\?"),
        ({"idk": {"zzz": 0.5}}, r"no setting 'idk\.zzz'; remove it or correct its name$"),
        ({"ugsm": 3}, "ugsm: must be a section with settings; got 3$"),
        ({"ugsm": {"width": "wide"}}, r"ugsm\.width: must be a valid integer.*; got 'wide'$"),
        *(
            ({section: {"learning_rate": rate}}, rf"{section}\.learning_rate: must be .*got ")
            for section in ("ugsm", "idk", "lcgar")
            for rate in (math.inf, math.nan, 1e9, 1e30, 1.01)
        ),
        ({"ugsm": {"width": 2000}}, r"ugsm\.width: must be less than or equal to 256; got 2000$"),
        ({"ugsm": {"width": 10**30}}, r"ugsm\.width: must be less than or equal to 256"),
        ({"ugsm": {"samples": 10**9}}, r"ugsm\.samples: must be less than or equal to 1000"),
        ({"ugsm": {"min_steps": 10**12}}, r"ugsm\.min_steps: must be less than or equal to"),
        ({"ugsm": {"epochs": 10**12}}, r"ugsm\.epochs: must be less than or equal to"),
        ({"lcgar": {"batch_size": 10**12}}, r"lcgar\.batch_size: must be less than or equal to"),
        ({"lcgar": {"h": 10**9 + 1}}, r"lcgar\.h: must be less than or equal to"),
        ({"align": {"smoothness": math.inf}}, r"align\.smoothness: must be less than or equal to"),
        ({"calibration": {"block": [8, 10**9, 32]}}, r"calibration\.block\.1: must be less"),
        ({"model": 3}, "model: must be a valid string; got 3$"),
    ],
)
def test_a_wrong_setting_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Settings.from_mapping(values, where="mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: UGSMSettings(width=0),
        lambda: Settings(ugsm={"width": 0}),
        lambda: Settings().updated({"ugsm": {"width": 0}}),
        lambda: Settings.from_mapping({"ugsm": {"width": 0}}),
    ],
)
def test_every_way_to_make_settings_raises_the_same_error(make: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=r"width: must be greater than or equal to 1; got 0$"):
        make()


@pytest.mark.parametrize("values", [None, 3, ["ugsm"], "ugsm"])
def test_settings_from_something_that_is_no_mapping(values: object) -> None:
    with pytest.raises(InputError, match=r"run\.json: settings must be names with values; got"):
        Settings.from_mapping(values, where="run.json")


def test_a_section_joins_the_kinds_of_settings() -> None:
    ugsm = Settings.preset("small").ugsm
    for kind in (UNetSettings, TrainingSettings, SamplingSettings):
        assert isinstance(ugsm, kind)
        assert set(kind.model_fields) < set(UGSMSettings.model_fields)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[ugsm", "is not a TOML file"),
        (b"\xff\xfe", "is not a TOML file"),
        (b"epochs = 3", "no setting 'epochs'"),
    ],
)
def test_a_file_that_holds_no_settings(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"mine\.toml.*{message}"):
        Settings().with_file(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "nothing.toml", "cannot read settings"), (tmp_path, "regular")):
        with pytest.raises(InputError, match=says):
            Settings().with_file(path)


def test_settings_cannot_be_changed_by_accident() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().ugsm.epochs = 3


def test_every_number_among_the_settings_has_an_end() -> None:
    """A setting without one can make a training that never ends, or fills the memory."""

    def numbers(kind: type[CheckedSettings], place: str = "") -> Iterator[tuple[str, FieldInfo]]:
        for name, field in kind.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, CheckedSettings):
                yield from numbers(field.annotation, f"{name}.")
            elif field.annotation in (int, float):
                yield place + name, field

    found = dict(numbers(Settings))
    assert len(found) > 20
    for name, field in found.items():
        ends = [one for one in field.metadata if isinstance(one, Le | Lt)]
        assert ends, f"{name} has no upper bound"
