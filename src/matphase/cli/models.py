"""Names of the models that `train` knows."""

from importlib import import_module

from matphase.support.errors import InputError


def model_names() -> tuple[str, ...]:
    """MatPhase and the baselines, by the names that settings use."""
    try:
        registry = import_module("matphase.networks.registry")
    except ModuleNotFoundError:
        # until networks/registry.py is there; delete this list then
        return (
            *("matphase", "ugsm", "unet", "mcd_unet", "unetpp", "manet", "deeplabv3", "fcn"),
            *("segnet", "local_unet", "resnet18", "resnet34", "resnet50", "adapted_lcgar"),
        )
    names: tuple[str, ...] = registry.names()
    return names


def check_model(name: str) -> None:
    """Refuse a model that does not exist.

    Raises:
        InputError: no model has that name.
    """
    if name not in model_names():
        raise InputError(f"there is no model {name!r}; choose {', '.join(model_names())}")
