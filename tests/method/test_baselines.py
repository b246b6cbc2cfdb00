"""Every model as a user has it: fit, predict, save, load; and what is particular to baselines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from stages import local_pool

import matphase as mp
from matphase.images.phases import IGNORE_INDEX
from matphase.learning.run import Run
from matphase.method import local_segmenter
from matphase.method.results import GlobalPrediction, Partition
from matphase.networks import registry
from matphase.networks.lcgar import LCGAR
from matphase.settings import Settings
from matphase.support.errors import InputError
from samples import Sample, striped

NAMES = ["pore", "carbon", "nickel"]


def settings_of(name: str, base: Settings) -> Settings:
    return base.updated({"model": name, "ugsm": {"epochs": 1}})


@pytest.fixture(scope="module")
def plain_unet(
    sample: Sample, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> tuple[mp.MatPhase, Path]:
    """A U-Net, and the folder of its training; leave both as they are."""
    folder = tmp_path_factory.mktemp("unet") / "run"
    model = mp.MatPhase(settings=settings_of("unet", tiny_settings))
    return model.fit(sample.images[:2], sample.labels[:2], NAMES, folder=folder), folder


def test_a_local_network_everywhere_answers_every_pixel(sample: Sample, model: mp.MatPhase) -> None:
    """Adapted-LCGAR is MatPhase's own network, asked outside the IDK set, too."""
    middle = float(np.median(model.predict(sample.images).idk_score))
    answers = []
    for name in ("matphase", "adapted_lcgar"):
        other = mp.MatPhase(settings=model.settings)
        settings = model.settings.updated({"model": name, "idk": {"threshold": middle}})
        refiner = replace(model._model.refiner, settings=settings)
        other._trained = replace(model._model, settings=settings, refiner=refiner)
        answers.append(other.predict(sample.images))
    idk = answers[0].idk
    assert 0 < idk.mean() < 1
    here, everywhere = (answer.probabilities for answer in answers)
    np.testing.assert_allclose(here[:, idk], everywhere[:, idk], atol=1e-6)
    assert np.abs(here - everywhere)[:, ~idk].max() > 1e-3


def test_mcd_unet_is_ugsm_with_another_mean(sample: Sample, tiny_settings: Settings) -> None:
    """The same training, by name and seed; only the summary of the samples differs."""
    models = [
        mp.MatPhase(settings=tiny_settings.updated({"model": name})).fit(
            sample.images, sample.labels, NAMES
        )
        for name in ("ugsm", "mcd_unet")
    ]
    first, second = (model._model.networks["ugsm"].state_dict() for model in models)
    for name, weight in first.items():
        np.testing.assert_array_equal(weight.numpy(), second[name].numpy())
    one, other = (model.predict(sample.images).probabilities for model in models)
    assert 1e-5 < np.abs(one - other).max() < 0.2


def known_of(labels: NDArray[np.uint8], rng: np.random.Generator) -> GlobalPrediction:
    logits = rng.normal(size=(len(labels), 3, *labels.shape[1:])).astype(np.float32)
    return GlobalPrediction(
        logits.argmax(axis=1).astype(np.uint8), logits, np.zeros(labels.shape, np.float32)
    )


def test_local_unet_learns_nothing_outside_the_idk_set(tiny_settings: Settings) -> None:
    """Other labels outside, where the loss is masked, leave its weights as they are."""
    rng = np.random.default_rng(0)
    made = striped(3, 48, 48)
    known = known_of(made.labels, rng)
    idk = rng.random(made.labels.shape) < 0.5
    partition = Partition(idk, idk.astype(np.float32))
    settings = settings_of("local_unet", tiny_settings)
    fitted = [
        local_segmenter.fit(
            local_pool(
                made.images / 100,
                np.where(idk, made.labels, outside).astype(np.uint8),
                known,
                partition,
            ),
            settings,
            Run(precision="float32"),
        )
        for outside in (0, 2, IGNORE_INDEX)
    ]
    for other in fitted[1:]:
        for name, weight in fitted[0].state_dict().items():
            np.testing.assert_array_equal(weight.numpy(), other.state_dict()[name].numpy())


@pytest.mark.parametrize(
    ("inputs", "channels"),
    [({}, 7), ({"labels": False}, 4), ({"logits": False}, 4), ({"image": False}, 6)],
)
def test_local_unet_sees_what_lcgar_sees(inputs: dict[str, bool], channels: int) -> None:
    small = {"width": 4, "depth": 2}
    settings = Settings.from_mapping({"model": "local_unet", "ugsm": small, "lcgar": inputs})
    network = local_segmenter.build(3, settings)
    assert next(iter(network.parameters())).shape[1] == channels


def test_resnet_learns_from_known_pixels_too(sample: Sample, tiny_settings: Settings) -> None:
    """Where UGSM is never in doubt LCGAR has nothing to learn, but a ResNet has every pixel."""
    settings = settings_of("resnet18", tiny_settings).updated({"idk": {"threshold": 1.0}})
    model = mp.MatPhase(settings=settings).fit(sample.images[:2], sample.labels[:2], NAMES)
    result = model.predict(sample.images[3, :32, :32])
    assert not result.idk.any()
    assert (result.labels != result.global_labels).any()


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["nnunet", "segnett"])
def test_an_unknown_model_is_refused_with_the_nearest_name(
    tiny_settings: Settings, given: str
) -> None:
    near = {"nnunet": "unet", "segnett": "segnet"}[given]
    with pytest.raises(InputError, match=f"'{given}'.*'{near}'"):
        mp.MatPhase(settings=tiny_settings.updated({"model": given}))


@pytest.mark.parametrize("name", ["deeplabv3", "resnet18"])
def test_a_missing_package_is_told_before_anything_is_written(
    name: str,
    tmp_path: Path,
    sample: Sample,
    tiny_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda _: None)
    model = mp.MatPhase(settings=settings_of(name, tiny_settings))
    with pytest.raises(InputError, match=r"pip install 'matphase\[baselines\]'"):
        model.fit(sample.images, sample.labels, NAMES, folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_local_part_to_train_again(sample: Sample, plain_unet: tuple[mp.MatPhase, Path]) -> None:
    with pytest.raises(InputError, match="model unet has no local network"):
        plain_unet[0].refit_local(sample.images, sample.labels)


def test_no_threshold_without_idk(sample: Sample, tiny_settings: Settings) -> None:
    settings = settings_of("unet", tiny_settings).updated({"idk": {"tune_recall": 0.9}})
    pair = sample.images, sample.labels
    with pytest.raises(InputError, match="model unet, which marks no pixel as uncertain"):
        mp.MatPhase(settings=settings).fit(*pair, NAMES, validation=pair)


def test_a_folder_of_another_model(
    sample: Sample, tiny_settings: Settings, plain_unet: tuple[mp.MatPhase, Path]
) -> None:
    other = mp.MatPhase(settings=settings_of("fcn", tiny_settings))
    with pytest.raises(InputError, match="started with other settings"):
        other.fit(sample.images[:2], sample.labels[:2], NAMES, folder=plain_unet[1])


def test_fewer_images_for_the_local_stages(
    sample: Sample, tiny_settings: Settings, model: mp.MatPhase
) -> None:
    few = tiny_settings.updated({"data": {"local_images": 2}})
    other = mp.MatPhase(settings=few).fit(sample.images, sample.labels, NAMES)
    first, second = (each._model.networks for each in (model, other))
    for name, weight in first["ugsm"].state_dict().items():
        np.testing.assert_array_equal(weight.numpy(), second["ugsm"].state_dict()[name].numpy())
    assert isinstance(second["lcgar"], LCGAR)
    heads = [each["lcgar"].state_dict()["head.weight"].numpy() for each in (first, second)]
    assert not np.array_equal(*heads)
