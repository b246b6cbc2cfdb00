"""Choice of what to measure: groups of properties, axes, and roles of the phases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matphase.images.phases import ROLES, PhaseTable
from matphase.properties.catalogue import PROPERTIES, did_you_mean
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
"""Groups of properties that are measured together; `matphase.properties.groups` has them."""


@dataclass(frozen=True)
class Roles:
    """Phases that are pore, active material and binder, by role; unknown roles are absent."""

    phases: dict[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, table: PhaseTable, given: Mapping[str, str] | None = None) -> "Roles":
        """Roles that are given, and the others by the usual names of phases.

        Raises:
            InputError: a role or a phase does not exist, or a phase has two roles.
        """
        chosen = dict(given or {})
        for role, phase in chosen.items():
            if role not in ROLES:
                raise InputError(
                    f"there is no role {role!r} for roles={did_you_mean(role, ROLES)}; choose "
                    f"from {', '.join(ROLES)}"
                )
            table.index(phase)
        for role, names in ROLES.items():
            usual = [name for name in names if name in table.names]
            free = [name for name in usual if name not in chosen.values()]
            if role not in chosen and free:
                chosen[role] = free[0]
        if len(set(chosen.values())) < len(chosen):
            raise InputError(f"the roles {chosen} contain a phase twice; give each phase one role")
        return cls(chosen)

    def get(self, role: str) -> str | None:
        """Phase with that role, or None."""
        return self.phases.get(role)

    def named(self, role: str) -> str:
        """Phase with that role.

        Raises:
            InputError: it is not known.
        """
        if role not in self.phases:
            raise InputError(
                f"none of the phases has a usual name of the {role}; give its name in roles="
            )
        return self.phases[role]


@dataclass(frozen=True)
class Plan:
    """Groups, axes and roles of one measurement.

    Attributes:
        groups: some of `GROUPS`.
        axes: names of the axes along which directed properties are measured, in the user's order.
        roles: of the phases.
        conductivities: of each phase in any unit of conductivity, for the effective conductivity
            of all that conduct together; empty: it is not measured.
        everything: whether all groups are measured because none was asked for by name.
    """

    groups: tuple[str, ...]
    axes: str
    roles: Roles
    conductivities: Mapping[str, float] = field(default_factory=dict, hash=False)
    everything: bool = False

    @classmethod
    def checked(
        cls,
        table: PhaseTable,
        axes_there: str,
        *,
        groups: str | Sequence[str] | None = None,
        axes: str | Sequence[str] | None = None,
        roles: Mapping[str, str] | None = None,
        conductivities: Mapping[str, float] | None = None,
    ) -> "Plan":
        """Plan for a volume with these phases and axes; None chooses all.

        Args:
            table: phases of the volume.
            axes_there: names of its axes, "yx" or "zyx".
            groups: one name of `GROUPS`, or several.
            axes: one name, or several, also as one text such as "zx".
            roles: phase by role.
            conductivities: of each phase that conducts, 0 or more.

        Raises:
            InputError: a group, axis, role or phase does not exist, or no conductivity is above
                zero, or one is below.
        """
        chosen = (groups,) if isinstance(groups, str) else groups
        for group in chosen or ():
            if group not in GROUPS:
                raise InputError(_unknown_group(group))
        for axis in axes or ():
            if axis not in tuple(axes_there):
                raise InputError(
                    f"there is no axis {axis!r} for axis=; the volume has "
                    f"{', '.join(axes_there)}, choose from these"
                )
        conducting = dict(conductivities or {})
        for phase, value in conducting.items():
            table.index(phase)
            if not 0 <= value < float("inf"):
                raise InputError(f"the conductivity of {phase} is {value}; give 0 or more")
        if conducting and not any(conducting.values()):
            raise InputError(
                "no phase conducts; give one a conductivity above 0, or leave out conductivities="
            )
        return cls(
            tuple(group for group in GROUPS if chosen is None or group in chosen),
            "".join(dict.fromkeys(axes_there if axes is None else axes)),
            Roles.of(table, roles),
            conducting,
            everything=groups is None,
        )


def _unknown_group(group: object) -> str:
    """Message that names the nearest group, or says that this is a property and not a group."""
    choices = f"choose from {', '.join(GROUPS)}"
    if group in PROPERTIES:
        return f"{group!r} is a property, not a group for groups=; {choices}"
    hint = did_you_mean(str(group), GROUPS)
    return f"there is no group {group!r} for groups={hint}; {choices}"
