"""MatPhase: the stages joined up (paper section 3.4, figure 4)."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matphase.images import formats
from matphase.images.annotations import Annotations
from matphase.images.grey_checks import check_is_grey, warn_of_round_field
from matphase.images.grey_scale import GreySample, IntensityScale, Kind
from matphase.images.mask import CIRCLE, Mask, masked
from matphase.images.neighbours import have_neighbours
from matphase.images.phases import Phases, PhaseTable, as_phase_table
from matphase.images.volume import Volume
from matphase.images.voxel_checks import voxel_record, warn_of_contradiction, warn_of_other_size
from matphase.learning.distributed import SingleProcess, Team, join
from matphase.learning.run import Run
from matphase.learning.training_pool import Pool
from matphase.method import auto, model_folder, training_folder
from matphase.method import start as starts
from matphase.method.calibrator import Calibrator
from matphase.method.conformal import RiskGuarantee
from matphase.method.fit import align_labels, fit_model, refit_local
from matphase.method.model import Model
from matphase.method.passes import DEFAULT_MEMORY
from matphase.method.scaling import Scaling
from matphase.networks import registry
from matphase.networks.cost import parameters
from matphase.prediction import blocks as inference
from matphase.prediction import run as prediction_run
from matphase.prediction.prediction import Prediction
from matphase.properties.interfaces import boundary_lengths
from matphase.scores.validation import Validation
from matphase.settings import (
    CalibrationSettings,
    LCGARSettings,
    PresetName,
    Settings,
    USISettings,
)
from matphase.support.errors import InputError, ModelError
from matphase.support.files import nearest_folder
from matphase.support.progress import Reporter, Silent
from matphase.support.scratch import Stack
from matphase.support.seeds import checked_seed
from matphase.support.warning import warn

Images: TypeAlias = Any
"""A volume, a path, several paths, or an array: whatever `matphase.open` takes."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """Labels after registration to the image by `MatPhase.align`.

    Attributes:
        labels: shape and values of the labels given; the ignore value where the label would come
            from outside of the slice.
        fields: (n, 2, height, width) float32 in pixels, along y and x: the label now at a pixel
            was at the pixel plus the field before.
        summary: how far labels moved, what that did to the volume fractions, and the label map.
    """

    labels: NDArray[Any]
    fields: NDArray[np.float32]
    summary: dict[str, Any]

    def __repr__(self) -> str:
        moved = self.summary["mean_displacement_px"]
        return f"Aligned labels {self.labels.shape}, moved by {moved:.2f} px on average"


class MatPhase:
    """Learns to name the phase of every voxel from a few labelled slices.

    Args:
        preset: `auto`, which chooses its settings on labelled slices that it leaves out; `quick`,
            `small`, `best` or `paper`. After `fit`, `settings` are those that were chosen. None:
            `auto`, or `small` where `settings` name a model.
        settings: all settings, instead of a preset; or a mapping of those that differ from it, such
            as {"ugsm": {"width": 32}}.
        seed: random seed; the same seed, data, settings and number of threads give the same model
            on one machine.
    """

    def __init__(
        self,
        preset: PresetName | None = None,
        *,
        settings: Settings | Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        if settings is not None and not isinstance(settings, Settings | Mapping):
            raise InputError(
                f"settings are Settings or a mapping such as {{'ugsm': {{'width': 32}}}}, got "
                f"{type(settings).__name__}"
            )
        if not isinstance(settings, Settings):
            changed = settings or {}
            given = Settings.usual(changed) if preset is None else Settings.preset(preset)
            settings = given.updated(changed)
        self.settings = settings
        registry.composition(self.settings.model)  # a model that there is
        self.seed = checked_seed(seed)
        self.team: Team = SingleProcess()
        self._trained: Model | None = None
        self._saved: tuple[Model, Path, str] | None = None
        """What was saved to or loaded from which folder, and the checksum of that folder."""

    def __repr__(self) -> str:
        return "\n".join(
            [f"MatPhase {self.settings.model}", *(f"  {line}" for line in self._facts())]
        )

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>"
            for name, text in (line.split(": ", 1) for line in self._facts())
        )
        return f"<table><caption>MatPhase {escape(self.settings.model)}</caption>{rows}</table>"

    def _facts(self) -> list[str]:
        """What the model is, a line each."""
        if self._trained is None:
            return ["trained: no; call fit, or load a trained model"]
        record = self._trained.record
        trained = f"on {record['slices']} annotated slices"
        if "virtual_electrodes" in record:
            trained = f"on {record['virtual_electrodes']} virtual electrodes"
        if "start" in record:
            trained += f", starting from {record['start']['model']}"
        lines = [
            f"phases: {self.phases}",
            f"trained: {trained}, seed {self.seed}",
            f"sees: {self.settings.slices} slice{'s' if self.settings.slices > 1 else ''} at once",
            f"weights: {sum(map(parameters, self._trained.networks.values())):,}",
        ]
        if self.validation is not None:
            right = np.trace(self.validation.confusion.sum(axis=0))
            share = right / self.validation.confusion.sum()
            lines.append(f"validation: {100 * share:.1f} % of the pixels right")
        if self.guarantee is not None:
            lines.append(f"trusted: {self.guarantee.text()}")
        return lines

    @property
    def phases(self) -> PhaseTable:
        """The phases that the model was trained on."""
        return self._model.phases

    @property
    def validation(self) -> Validation | None:
        """Scores of the model on its validation slices; None where it was given none."""
        return self._model.validation

    @property
    def decisions(self) -> dict[str, str]:
        """What preset `auto` chose and why, by what it decided; empty for other presets."""
        found: dict[str, str] = self._model.record.get("search", {}).get("decisions", {})
        return dict(found)

    @property
    def scaling(self) -> Scaling | None:
        """How the answer's probabilities are scaled; None where they are not."""
        return self._model.calibrator.scaling

    @property
    def guarantee(self) -> RiskGuarantee | None:
        """What is guaranteed for trusted pixels; None where `calibration.risk` is off."""
        return self._model.calibrator.guarantee

    def fit(
        self,
        images: Images,
        labels: Images,
        phases: Phases,
        *,
        label_slices: Sequence[int] | None = None,
        mask: Mask | None = None,
        validation: tuple[Images, Images] | None = None,
        validation_slices: Sequence[int] | None = None,
        validation_mask: Mask | None = None,
        start: str | os.PathLike[str] | None = None,
        folder: str | os.PathLike[str] | None = None,
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
            label_slices: numbers, from 0, of the slices of the images that are labelled, where
                there are more images than labels. By default they are inferred from the slice
                spacings, if both volumes record one; both then begin at the same place.
            phases: names in the order of the label values 0, 1, ...; or name to value; or a table.
                Pixels of its ignore value are unlabelled, so labels may be sparse.
            mask: region of interest of the images: "circle" for the inscribed circle of each
                slice, or a mask that is non-zero inside, or where it is stored; in the shape of
                the images, or one slice (y, x) for all. What is outside, and pixels that are NaN,
                are part of neither the grey scale nor the training.
            validation: images and labels that no network learns from: `idk.tune_recall` and
                `calibration` use them (`scaling = "auto"` only if there are any), and the
                trained model is scored on them for the error bars of `measure`.
            validation_slices: the same for the validation images.
            validation_mask: the same for the validation images; by default `mask`.
            start: model whose U-Net the training starts from, in place of `ugsm.start`: "base",
                which was trained on virtual electrodes, or a model folder. The network then has
                its width and depth. If it has other phases, the last layer starts anew, with a
                warning.
            folder: keeps checkpoints and finished stages; a second call with the same data and
                settings continues where the first one stopped. None: nothing is kept.
            restart: start from the beginning, whatever `folder` holds of an earlier training.
            reporter: receives progress.
            tensorboard: folder for TensorBoard logs.
            devices: processes on each machine that train together; see
                `matphase.learning.distributed`. Every process returns the same model; `team.rank`
                says which one it is.
            nodes: machines that train together.

        Raises:
            InputError: the slices cannot be used, `folder` holds the training of other data, or
                `start` has no U-Net.
            ModelError: `start` is missing or damaged.
            Interrupted: the user stopped it.
        """
        if tensorboard is not None and find_spec("tensorboard") is None:
            raise InputError(
                "TensorBoard is not installed; pip install 'matphase[tracking]', or leave it out"
            )
        table = as_phase_table(phases)
        grey, known = formats.open(images, name="images"), formats.open(labels, name="labels")
        annotations = _annotations(grey, known, table, label_slices, mask)
        annotations.require_every_phase()
        settings = self.settings
        if start is not None:
            settings = settings.updated({"ugsm": {"start": os.fspath(start)}})
        settings, note = starts.resolved(settings, table)
        if note is not None:
            warn(note)
        unseen = None
        if validation is not None:
            with _naming_validation():
                unseen = _annotations(
                    formats.open(validation[0], name="validation images"),
                    formats.open(validation[1], name="validation labels"),
                    table,
                    validation_slices,
                    mask if validation_mask is None else validation_mask,
                )
        folder = None if folder is None else Path(folder)
        labelled = _Labelled(annotations, folder)
        pool = labelled.pool(settings)
        # what cannot be used is found before others wait for this process
        self.team = join(devices, nodes)
        run = Run(
            self.seed,
            settings.precision,
            folder,
            (self.team.rank == 0 and reporter) or Silent(),
            tensorboard,
            restart=restart,
            team=self.team,
        )
        found = None
        if settings.search.is_on:
            run.team.first(lambda: training_folder.claim(run, settings, pool))
            run = replace(run, restart=False)
            beside = have_neighbours(annotations.images, annotations.z, auto.SLICES)
            found = auto.configure(labelled.pool, settings, run, neighbours=beside)
            settings = found.settings
        pool, scale = labelled.pool(settings), labelled.scale(settings)
        held_out = None
        if unseen is not None:
            scratch = None if folder is None else nearest_folder(folder)
            held_out = Pool.read(unseen, scale, settings.slices, scratch)
        trained, answers = fit_model(
            pool, held_out, settings, scale, run, claimed=found is not None
        )
        trained = replace(trained, record={**trained.record, **voxel_record(grey)})
        if found is not None:
            trained = replace(trained, record={**trained.record, "search": found.card})
        if held_out is not None and answers is not None:
            trained = replace(trained, validation=_validation(held_out, answers))
        elif found is not None:
            trained = replace(trained, calibrator=Calibrator(found.scaling))
        self._trained, self.settings = trained, trained.settings
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

        Its deferral classifier is trained, too, if its settings ask for one. The comparison shows
        what the curriculum or an input of LCGAR is worth (paper tables 1, 2 and 5). Validation
        slices of this model say nothing of the other, so it is not calibrated.

        Args:
            images: the training slices of this model.
            labels: their labels.
            label_slices: as in `fit`.
            lcgar_settings: in place of this model's.
            usi: in place of this model's.
            target: in place of this model's `idk.target`.
            folder: keeps checkpoints, as in `fit`.
            reporter: receives progress.
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
        grey, known = formats.open(images, name="images"), formats.open(labels, name="labels")
        annotations = Annotations.of(grey, known, model.phases, label_slices)
        pool = other._pool(annotations, model.scale, folder)
        run = Run(self.seed, settings.precision, folder, reporter or Silent())
        other._trained = refit_local(replace(model, settings=settings), pool, run)
        return other

    def predict(
        self,
        volume: Images,
        *,
        mask: Mask | None = None,
        out: str | os.PathLike[str] | None = None,
        samples: int | None = None,
        seed: int = 0,
        intensity: Literal["model", "volume"] = "model",
        memory: int = DEFAULT_MEMORY,
        probabilities: bool | None = None,
        keep_samples: bool = False,
        mutual_information: bool = False,
        tta: bool | None = None,
        resample: bool = False,
        workers: int | None = None,
        scheduler: str | None = None,
        overwrite: bool = False,
        restart: bool = False,
        reporter: Reporter | None = None,
    ) -> Prediction:
        """Predict the phase of every voxel, block by block, as `matphase predict` does.

        Args:
            volume: grey volume (z, y, x) or slice (y, x), or where it is stored.
            mask: region of interest, as in `fit`. What is outside, and voxels that are NaN, are
                not predicted: they have the ignore value in labels, are false in masks, and NaN in
                other maps.
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
            tta: average over the eight flips and quarter turns of the image, which is better. A
                network without dropout takes eight times as long; with dropout, each sample sees
                the next turn. By default as in the settings.
            resample: bring the volume to the voxel size that the model was trained at, block by
                block, and the maps back to the volume's own grid. Both voxel sizes must be known.
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
        if scheduler is not None and isinstance(mask, str | os.PathLike) and mask != CIRCLE:
            mask = Path(mask).absolute()
        grey = masked(formats.open(volume, name="volume"), mask)
        task = inference.task_of(
            model,
            grey,
            samples=samples,
            seed=seed,
            intensity=intensity,
            memory=memory,
            mutual_information=mutual_information,
            keep_samples=keep_samples,
            resample=resample,
            tta=tta,
        )
        reporter = reporter or Silent()
        if out is None:
            kept = probabilities is not False
            return prediction_run.predict(model, grey, task, probabilities=kept, reporter=reporter)
        return prediction_run.predict_to_files(
            *(model, grey, task, Path(out)),
            folder=self._folder,
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
        mask: Mask | None = None,
        reporter: Reporter | None = None,
    ) -> Aligned:
        """Register labels that are misregistered with the image to where this model sees them.

        Args:
            images: grey slices (n, height, width) or (height, width), or where they are stored.
            labels: phases of the same pixels.
            phases: the label values of the model's phases, where they differ from training.
            label_slices: as in `fit`.
            mask: region of interest, as in `fit`; labels outside get the ignore value.
            reporter: receives progress.

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
        known = formats.open(labels, name="labels")
        table = PhaseTable.from_mapping(values, given.ignored)
        grey = formats.open(images, name="images")
        annotations = _annotations(grey, known, table, label_slices, mask)
        scale = _checked_scale(annotations.images, model.scale.kind)
        warn_of_other_size(model.record, grey, slices=model.settings.slices)
        pool = self._pool(annotations, scale if model.scale.anew else model.scale)
        run = Run(self.seed, model.settings.precision, reporter=reporter or Silent())
        alignment = align_labels(pool, model.segmenter, model.settings, run)
        # what moves in from outside of a slice is of no phase that anybody knows
        table = table.with_ignore()
        summary = alignment.summary(pool.labels, table.names, *_pixel(grey, known))
        summary["label_map"] = str(table)
        moved = np.full((known.n_slices, *pool.shape), table.ignore, table.dtype)
        fields = np.zeros((known.n_slices, 2, *pool.shape), np.float32)
        for number, plane in enumerate(annotations.planes):
            moved[plane] = table.decode(alignment.labels[number])
            fields[plane] = alignment.fields[number]
        return Aligned(moved.reshape(known.shape), fields, summary)

    def save(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write the model folder; see `matphase.method.model_folder`.

        Raises:
            OutputError: the folder exists (and `overwrite` is off) or cannot be written.
        """
        model_folder.write(self._model, Path(folder), overwrite=overwrite)
        self._saved = self._model, Path(folder), model_folder.checksum_of(Path(folder))

    def _pool(
        self, annotations: Annotations, scale: IntensityScale, folder: Path | None = None
    ) -> Pool:
        """Annotated slices, each with as many neighbours as the networks see."""
        scratch = None if folder is None else nearest_folder(folder)
        return Pool.read(annotations, scale, self.settings.slices, scratch)

    @property
    def _folder(self) -> Path | None:
        """Folder that holds this model; None if there is none, or it holds another model by now."""
        if self._saved is None or self._saved[0] is not self._model:
            return None
        _, folder, checksum = self._saved
        try:
            return folder if model_folder.checksum_of(folder) == checksum else None
        except ModelError:
            return None

    @property
    def _model(self) -> Model:
        if self._trained is None:
            raise InputError("this model is not trained yet; call fit, or load a trained one")
        return self._trained


def load(folder: str | os.PathLike[str]) -> MatPhase:
    """Read a model that `MatPhase.save` or `matphase train` wrote, or the base model.

    Args:
        folder: folder of the model. "base" is the model that comes with MatPhase: it was trained on
            virtual electrodes, and names pore, carbon_binder and active_material in any scan
            without a label of it. A folder of that name is "./base".

    Raises:
        ModelError: a file of the folder is missing, altered or foreign.
    """
    trained, folder = starts.read(folder), starts.folder_of(folder)
    model = MatPhase(settings=trained.settings, seed=trained.seed)
    model._trained = trained
    model._saved = trained, folder, model_folder.checksum_of(folder)
    return model


def _annotations(
    grey: Volume,
    known: Volume,
    phases: PhaseTable,
    label_slices: Sequence[int] | None,
    mask: Mask | None,
) -> Annotations:
    """Known pixels of a volume, inside of a mask if there is one."""
    annotations = Annotations.of(masked(grey, mask), known, phases, label_slices)
    warn_of_contradiction(grey, known)
    return annotations


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Annotated slices, read as the settings of a candidate need them, each way once."""

    annotations: Annotations
    folder: Path | None
    scales: dict[str, IntensityScale] = field(default_factory=dict)
    pools: dict[tuple[str, int], Pool] = field(default_factory=dict)

    def scale(self, settings: Settings) -> IntensityScale:
        """Their intensity scale."""
        mode = settings.data.scale
        if mode not in self.scales:
            self.scales[mode] = _checked_scale(self.annotations.images, mode)
        return self.scales[mode]

    def pool(self, settings: Settings) -> Pool:
        """The slices, each with as many neighbours as the networks see."""
        key = settings.data.scale, settings.slices
        if key not in self.pools:
            scratch = None if self.folder is None else nearest_folder(self.folder)
            scale = self.scale(settings)
            self.pools[key] = Pool.read(self.annotations, scale, settings.slices, scratch)
        return self.pools[key]


def _checked_scale(grey: Volume, mode: Literal["auto"] | Kind) -> IntensityScale:
    """Intensity scale of training slices, whose grey values are checked."""
    sample = GreySample.of(grey)
    check_is_grey(sample)
    warn_of_round_field(sample, grey)
    return IntensityScale.of(sample, mode)


@contextmanager
def _naming_validation() -> Iterator[None]:
    """Name the arguments of validation slices in errors."""
    try:
        yield
    except InputError as error:
        text = re.sub(r"\b(?:label_(?=slices=)|(?=mask=))", "validation_", str(error))
        raise type(error)(text) from error


def _pixel(grey: Volume, known: Volume) -> tuple[tuple[float, float] | None, str | None]:
    """Height and width of a pixel and their unit, by the image or else by its labels."""
    for volume in (grey, known):
        if volume.voxel_size is not None:
            y, x = volume.voxel_size[-2:]
            assert y is not None
            assert x is not None
            return (y, x), volume.unit
    return None, None


def _validation(held_out: Pool, answers: Stack) -> Validation:
    """The score of labels (n, height, width) predicted for slices that no network learned from."""
    return Validation.joined(
        [
            Validation.of(
                held_out.labels[number][np.newaxis],
                answers[number][np.newaxis],
                len(held_out.phases),
                boundary_lengths,
            )
            for number in range(len(held_out))
        ]
    )
