"""MatPhase: the stages joined up (paper section 3.4, figure 4)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.grey_scale import IntensityScale
from matphase.images.phases import Phases, PhaseTable, as_phase_table
from matphase.images.volume import Volume
from matphase.learning.pairs import Pairs
from matphase.learning.team import Alone, Team, join
from matphase.learning.trainer import Run
from matphase.method import conformal, scaling, ugsm
from matphase.method import folder as model_folder
from matphase.method.conformal import Promise
from matphase.method.fit import align_labels, fit_local_again, fit_stages
from matphase.method.folder import Trained
from matphase.method.scaling import Scaling
from matphase.networks import zoo
from matphase.prediction import run as prediction_run
from matphase.prediction import task as inference
from matphase.prediction.prediction import Prediction
from matphase.scores.validation import Validation
from matphase.settings import (
    CalibrationSettings,
    LCGARSettings,
    PresetName,
    Settings,
    USISettings,
)
from matphase.support.errors import InputError
from matphase.support.progress import Reporter, Silent

Images = Volume | NDArray[Any] | str | os.PathLike[str]

SLICES_AT_ONCE = 16
"""At most so many validation slices go through all stages together."""


@dataclass(frozen=True)
class Aligned:
    """Labels that `MatPhase.align` has moved.

    Attributes:
        labels: shape of the labels given, and their values; an ignore value where what was moved
            there lay outside of the slice.
        fields: (n, 2, height, width) float32 in pixels, along y and x: the label at a pixel was
            before at the pixel plus the field.
        summary: how far labels moved, what that did to the volume fractions, and the label map.
    """

    labels: NDArray[Any]
    fields: NDArray[np.float32]
    summary: dict[str, Any]


class MatPhase:
    """Learns to name the phase of every voxel from a few labelled slices.

    Args:
        preset: `quick`, `small`, `best` or `paper`.
        settings: all settings, instead of a preset.
        seed: names every random draw; the same seed and data give the same model.
    """

    def __init__(
        self, preset: PresetName = "small", *, settings: Settings | None = None, seed: int = 0
    ) -> None:
        self.settings = settings or Settings.preset(preset)
        self.seed = seed
        self.team: Team = Alone()
        self._trained: Trained | None = None
        self._saved: tuple[Trained | None, Path | None] = None, None
        """What was saved to, or loaded from, which folder."""

    @property
    def phases(self) -> PhaseTable:
        """The phases that the model was trained on."""
        return self._model.phases

    @property
    def validation(self) -> Validation | None:
        """How the model fares on the validation slices; None where it was given none."""
        return self._model.validation

    @property
    def scaling(self) -> Scaling | None:
        """How the answer's probabilities are scaled; None where they are not."""
        return self._model.scaling

    @property
    def promise(self) -> Promise | None:
        """What is promised of trusted pixels; None where `calibration.risk` is off."""
        return self._model.promise

    def fit(
        self,
        images: Images,
        labels: Images,
        phases: Phases,
        *,
        label_slices: Sequence[int] | None = None,
        validation: tuple[Images, Images] | None = None,
        validation_slices: Sequence[int] | None = None,
        folder: Path | None = None,
        restart: bool = False,
        reporter: Reporter | None = None,
        tensorboard: Path | None = None,
        devices: int = 1,
        nodes: int = 1,
    ) -> "MatPhase":
        """Train all stages: UGSM, HCL-IDK, and LCGAR under the curriculum HCL-USI.

        Args:
            images: grey slices (n, height, width) or (height, width), or where they are stored.
            labels: known phases of the same pixels.
            label_slices: which slices of the images are labelled, from 0, where there are more of
                them than labels. Without it the distances of the slices say it, if both volumes
                have one and both begin at the same place.
            phases: names in the order of the label values 0, 1, ...; or name to value; or a table.
            validation: images and labels that no network learns from: `idk.tune_recall` and
                `calibration` look at them (`scaling = "auto"` only if there are any), and the
                trained model is scored on them for the error bars of `measure`.
            validation_slices: likewise which of its images are labelled.
            folder: keeps checkpoints and finished stages; a second call with the same data and
                settings goes on where the first one stopped. None: nothing is kept.
            restart: begin anew, whatever `folder` holds of an earlier training.
            reporter: is told of progress.
            tensorboard: folder for TensorBoard logs.
            devices: processes on each machine that train together; see `matphase.learning.team`.
                Every process returns the same model; `team.rank` says which one it is.
            nodes: machines that train together.

        Raises:
            InputError: the slices cannot be used, or `folder` holds the training of other data.
            Interrupted: the user stopped it.
        """
        if tensorboard is not None and find_spec("tensorboard") is None:
            raise InputError(
                "TensorBoard is not installed; pip install 'matphase[tracking]', or leave it out"
            )
        table = as_phase_table(phases)
        grey, known = as_volume(images, "images"), as_volume(labels, "labels")
        scale = IntensityScale.of(grey, self.settings.data.scale)
        pairs = self._pairs(grey, known, table, scale, label_slices)
        pairs.require_every_phase(table, known.name)
        held_out = None
        if validation is not None:
            held_out = self._pairs(
                as_volume(validation[0], "validation images"),
                as_volume(validation[1], "validation labels"),
                table,
                scale,
                validation_slices,
            )
        # what cannot be used is found before others wait for this process
        self.team = join(devices, nodes)
        run = Run(
            self.seed,
            self.settings.precision,
            folder,
            (self.team.rank == 0 and reporter) or Silent(),
            tensorboard,
            restart=restart,
            team=self.team,
        )
        trained = fit_stages(pairs, held_out, self.settings, table, scale, run)
        if held_out is not None:
            trained = _with_held_out(trained, held_out, run)
        self._trained = trained
        return self

    def refit_local(
        self,
        images: Images,
        labels: Images,
        *,
        label_slices: Sequence[int] | None = None,
        lcgar_settings: LCGARSettings | None = None,
        usi: USISettings | None = None,
        target: Literal["wrong", "gain"] | None = None,
        folder: Path | None = None,
        reporter: Reporter | None = None,
    ) -> "MatPhase":
        """A model that shares UGSM and HCL-IDK with this one but trains LCGAR differently.

        Where the other has a deferral classifier, that is trained, too. It answers what the
        curriculum or an input of LCGAR is worth (paper tables 1, 2 and 5). What validation slices
        said of this model does not hold for the other, which is not calibrated.

        Args:
            images: the training slices of this model.
            labels: their labels.
            label_slices: as in `fit`.
            lcgar_settings: in place of this model's.
            usi: in place of this model's.
            target: in place of this model's `idk.target`.
            folder: keeps checkpoints, as in `fit`.
            reporter: is told of progress.
        """
        model = self._model
        settings = model.settings.model_copy(
            update={
                "lcgar": lcgar_settings or model.settings.lcgar,
                "usi": usi or model.settings.usi,
                "idk": model.settings.idk.model_copy(
                    update={"target": target or model.settings.idk.target}
                ),
                "calibration": CalibrationSettings(),
            }
        )
        other = MatPhase(settings=settings, seed=self.seed)
        grey, known = as_volume(images, "images"), as_volume(labels, "labels")
        pairs = other._pairs(grey, known, model.phases, model.scale, label_slices)
        run = Run(self.seed, settings.precision, folder, reporter or Silent())
        bare = replace(model, settings=settings, validation=None, scaling=None, promise=None)
        other._trained = fit_local_again(pairs, bare, run)
        return other

    def predict(
        self,
        volume: Images,
        *,
        out: str | os.PathLike[str] | None = None,
        samples: int | None = None,
        seed: int = 0,
        intensity: Literal["model", "volume"] = "model",
        memory: int = ugsm.DEFAULT_MEMORY,
        probabilities: bool | None = None,
        keep_samples: bool = False,
        mutual_information: bool = False,
        workers: int | None = None,
        scheduler: str | None = None,
        overwrite: bool = False,
        restart: bool = False,
        reporter: Reporter | None = None,
    ) -> Prediction:
        """Predict the phase of every voxel, block by block, as `matphase predict` does.

        Args:
            volume: grey volume (z, y, x) or slice (y, x), or where it is stored.
            out: file for the labels, .tif, .h5 or .ome.zarr; the other maps are written beside it,
                and voxels stay on disk. After a kill the same call goes on with the blocks that
                are not finished. None: the prediction is in memory.
            samples: stochastic passes T, in place of the setting.
            seed: random seed of the dropout masks; the same seed gives the same prediction.
            intensity: scale grey values as in training (`model`), or by this volume's own
                percentiles (`volume`), for a scan whose grey scale differs. A model that scales
                each slice by itself does so either way.
            memory: bytes that prediction may take at a time: slices that do not fit are predicted
                in blocks, with the same result. A prediction in memory comes on top
                (`prediction_bytes`).
            probabilities: keep the probabilities of the phases; by default in memory only.
            keep_samples: keep the labels of each stochastic pass, from which `measure` takes its
                error bars.
            mutual_information: compute it, too.
            workers: number of processes on this machine that compute the blocks; needs `out`.
            scheduler: address of a Dask scheduler whose workers compute the blocks, such as
                "tcp://HOST:8786"; needs `out`.
            overwrite: replace files of `out` that exist.
            restart: start from the beginning, whatever an unfinished prediction left.
            reporter: receives progress.

        Raises:
            InputError: the volume cannot be used, its grey scale differs from training's, or
                arguments do not fit together.
            OutputError: a file exists or cannot be written, or an unfinished prediction of
                something else is there.
            Interrupted: the user stopped it, and finished blocks are kept.
        """
        model = self._model
        if out is None and (workers is not None or scheduler is not None or overwrite or restart):
            raise InputError(
                "workers, scheduler, overwrite and restart are for predictions into files; give "
                "out='phases.ome.zarr', too"
            )
        if scheduler is not None and isinstance(volume, str | os.PathLike):
            volume = Path(volume).absolute()  # workers have working folders of their own
        grey = as_volume(volume, "volume")
        task = inference.task_of(
            model,
            grey,
            samples=samples,
            seed=seed,
            intensity=intensity,
            memory=memory,
            mutual_information=mutual_information,
            keep_samples=keep_samples,
        )
        reporter = reporter or Silent()
        if out is None:
            kept = probabilities is not False
            return prediction_run.predict(model, grey, task, probabilities=kept, reporter=reporter)
        saved, folder = self._saved
        return prediction_run.predict_to_files(
            *(model, grey, task, Path(out)),
            folder=folder if saved is model and folder is not None and folder.exists() else None,
            probabilities=bool(probabilities),
            overwrite=overwrite,
            restart=restart,
            workers=workers,
            scheduler=scheduler,
            reporter=reporter,
        )

    def align(
        self,
        images: Images,
        labels: Images,
        phases: Phases | None = None,
        *,
        label_slices: Sequence[int] | None = None,
        reporter: Reporter | None = None,
    ) -> Aligned:
        """Move labels that lie beside what they label to where this model sees their phases.

        Args:
            images: grey slices (n, height, width) or (height, width), or where they are stored.
            labels: phases of the same pixels.
            phases: the label values of the model's phases, where they are others than in training.
            label_slices: as in `fit`.
            reporter: is told of progress.

        Raises:
            InputError: the slices cannot be used, or `phases` are not the model's.
        """
        model = self._model
        given = model.phases if phases is None else as_phase_table(phases)
        if set(given.names) != set(model.phases.names):
            raise InputError(
                f"the labels have the phases {', '.join(given.names)}, the model "
                f"{', '.join(model.phases.names)}; name the same ones"
            )
        values = {name: given.phases[given.index(name)].value for name in model.phases.names}
        known = as_volume(labels, "labels")
        table = PhaseTable.from_mapping(values, given.ignore)
        grey = as_volume(images, "images")
        pairs = self._pairs(grey, known, table, model.scale, label_slices)
        run = Run(self.seed, model.settings.precision, reporter=reporter or Silent())
        alignment = align_labels(pairs, model.ugsm, model.settings, run)
        if table.ignore is None:
            # what moves in from outside of a slice is of no phase that anybody knows
            free = next(value for value in (255, *range(255)) if value not in values.values())
            table = PhaseTable.from_mapping(values, free)
        summary = alignment.summary(pairs.labels, table.names, *_pixel(grey, known))
        summary["label_map"] = str(table)
        moved = table.decode(alignment.labels).reshape(known.shape)
        return Aligned(moved, alignment.fields, summary)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the model folder; see `matphase.method.folder`.

        Raises:
            OutputError: the folder exists (and `overwrite` is off) or cannot be written.
        """
        model_folder.write(self._model, Path(folder), overwrite=overwrite)
        self._saved = self._model, Path(folder)

    def _pairs(
        self,
        images: Volume,
        labels: Volume,
        phases: PhaseTable,
        scale: IntensityScale,
        label_slices: Sequence[int] | None,
    ) -> Pairs:
        """Labelled slices, each with as many neighbours as the networks see."""
        return Pairs.read(
            images, labels, phases, scale, slices=self.settings.slices, label_slices=label_slices
        )

    @property
    def _model(self) -> Trained:
        if self._trained is None:
            raise InputError("this model is not trained yet; call fit, or load a trained one")
        return self._trained


def load(folder: str | os.PathLike[str]) -> MatPhase:
    """Read a model that `MatPhase.save` or `matphase train` wrote.

    Raises:
        ModelError: a file of the folder is missing, altered or foreign.
    """
    trained = model_folder.read(Path(folder))
    model = MatPhase(settings=trained.settings, seed=trained.seed)
    model._trained = trained
    model._saved = trained, Path(folder)
    return model


def as_volume(source: Images, name: str) -> Volume:
    """A volume from whatever the user gave: a volume, an array, or a path."""
    if isinstance(source, Volume):
        return source
    if isinstance(source, str | os.PathLike):
        return formats.open(source)
    return Volume.from_array(np.asarray(source), name=name)


def _pixel(grey: Volume, known: Volume) -> tuple[tuple[float, float] | None, str | None]:
    """Height and width of a pixel and their unit, by the image or else by its labels."""
    for volume in (grey, known):
        if volume.voxel_size is not None:
            y, x = volume.voxel_size[-2:]
            assert y is not None
            assert x is not None
            return (y, x), volume.unit
    return None, None


def _with_held_out(model: Trained, held_out: Pairs, run: Run) -> Trained:
    """The model with what slices say of it that none of its networks learned from.

    The scaling of its probabilities, the promise about trusted pixels, and its score.
    """
    settings = model.settings.calibration
    names = ("labels", "probabilities") if settings.is_on else ("labels",)
    parts = []
    for first in range(0, len(held_out.images), SLICES_AT_ONCE):
        images = held_out.images[first : first + SLICES_AT_ONCE]
        known = ugsm.predict(
            model.ugsm,
            images,
            model.settings.ugsm,
            precision=model.settings.precision,
            average=zoo.KINDS[model.settings.model].average,
        )
        maps = inference.answers(model, images, known, inference.whole(images))
        parts.append({name: maps[name] for name in names})
    labels = np.concatenate([part["labels"] for part in parts])
    truth, scaled, promise = held_out.labels, None, None
    if settings.is_on:
        probabilities = np.concatenate([part["probabilities"] for part in parts], axis=1)
        probabilities = np.ascontiguousarray(np.moveaxis(probabilities, 0, 1))
        if settings.scaling != "none":
            assert settings.scaling != "auto", "`fit_stages` has said which it is"
            learned = truth
            if settings.align:
                learned = align_labels(held_out, model.ugsm, model.settings, run).labels
            scaled = scaling.fit(probabilities, learned, settings.scaling, model.seed)
            labels, probabilities = scaled.answer(labels, probabilities)
        if settings.risk:
            promise = conformal.fit(probabilities, labels, truth, settings)
    score = Validation.of(truth, labels, len(model.phases))
    return replace(model, validation=score, scaling=scaled, promise=promise)
