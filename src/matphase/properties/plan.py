"""What is to be measured: which properties, along which axes, and what the phases are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matphase.images.phases import PhaseTable
from matphase.support.errors import InputError

GROUPS = (
    "fractions",
    "interfaces",
    "connectivity",
    "transport",
    "sizes",
    "correlation",
    "chords",
    "particles",
)
"""Properties that are measured together."""

_ROLES = {
    "pore": ("pore", "pores", "void", "electrolyte"),
    "active": ("active_material", "active", "nickel", "nmc", "graphite", "lfp", "lco", "nca"),
    "binder": ("carbon_binder", "binder", "carbon", "cbd"),
}


@dataclass(frozen=True)
class Roles:
    """The phase that is pore, active material or binder, by role; unknown ones are absent."""

    phases: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, table: PhaseTable, given: Mapping[str, str] | None = None) -> "Roles":
        """As the user says, and by the usual names of phases where they say nothing.

        Raises:
            InputError: a role or a phase that there is not, or a phase in two roles.
        """
        chosen = dict(given or {})
        for role, phase in chosen.items():
            if role not in _ROLES:
                raise InputError(f"there is no role {role!r}; the roles are {', '.join(_ROLES)}")
            table.index(phase)
        for role, names in _ROLES.items():
            usual = [name for name in names if name in table.names]
            free = [name for name in usual if name not in chosen.values()]
            if role not in chosen and free:
                chosen[role] = free[0]
        if len(set(chosen.values())) < len(chosen):
            raise InputError(f"roles {chosen} name a phase twice; give each phase one role")
        return cls(chosen)

    def get(self, role: str) -> str | None:
        """The phase in that role, or None."""
        return self.phases.get(role)

    def named(self, role: str) -> str:
        """The phase in that role.

        Raises:
            InputError: it is not known.
        """
        if role not in self.phases:
            raise InputError(
                f"no phase is known to be the {role} by its name; say which (--roles {role}=NAME)"
            )
        return self.phases[role]


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        groups: of `GROUPS`.
        axes: names of the axes that directed properties are measured along, as the user has them.
        roles: of the phases.
        conductivities: of each phase in any unit of conductivity, for the effective conductivity
            of all that conduct together; empty: it is not measured.
    """

    groups: tuple[str, ...]
    axes: str
    roles: Roles
    conductivities: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def checked(
        cls,
        table: PhaseTable,
        axes_there: str,
        *,
        groups: Sequence[str] | None = None,
        axes: Sequence[str] | None = None,
        roles: Mapping[str, str] | None = None,
        conductivities: Mapping[str, float] | None = None,
    ) -> "Plan":
        """A plan for a volume with these phases and axes; None asks for all there is.

        Raises:
            InputError: a group, axis, role or phase that there is not, or a conductivity below
                zero or none above it.
        """
        for group in groups or ():
            if group not in GROUPS:
                raise InputError(
                    f"there is no group of properties {group!r}; choose of {', '.join(GROUPS)}"
                )
        for axis in axes or ():
            if axis not in tuple(axes_there):
                raise InputError(
                    f"the volume has the axes {', '.join(axes_there)}, none called {axis!r}; "
                    "choose one of these"
                )
        conducting = dict(conductivities or {})
        for phase, value in conducting.items():
            table.index(phase)
            if not 0 <= value < float("inf"):
                raise InputError(f"the conductivity of {phase} is {value}; give 0 or more")
        if conducting and not any(conducting.values()):
            raise InputError("no phase conducts; give a conductivity above 0, or leave them out")
        return cls(
            tuple(group for group in GROUPS if groups is None or group in groups),
            "".join(dict.fromkeys(axes_there if axes is None else axes)),
            Roles.of(table, roles),
            conducting,
        )
