"""Powers of three phases by IEEE Std 1459-2010, clause 3.2: effective, arithmetic and vector apparent power.

The effective quantities are those of a balanced system with the same losses (Buchholz, Goodhue), with the
resistance ratio rho and the power ratio xi both 1, as the standard recommends where they are not known.
Everything is a function of phasors with axes (..., 3 phases, components); component 0 is the constant. The
rule never to be broken: as in `single_phase`, roots of differences are taken as roots of sums wherever the
parts are known, so that a balanced load has no unbalance power.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.phasors import fundamental_and_rest, ratio, root, squares
from openami.metrology.powers.single_phase import (
    SinglePhasePowers,
    Totals,
    single_phase_powers,
)
from openami.metrology.powers.symmetrical import SymmetricalComponents, symmetrical_components
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]


class System(Enum):
    """Wires between source and load."""

    FOUR_WIRE = "3p4w"
    THREE_WIRE = "3p3w"


@dataclass(frozen=True, slots=True)
class ThreePhasePowers:
    """Quantities of IEEE 1459-2010, 3.2; every field is float64 (...) unless said. Signs as for one phase."""

    phases: SinglePhasePowers
    """Each phase by itself, fields (..., 3); without a neutral wire against the virtual star point."""
    u1_sequences: SymmetricalComponents
    """Of the fundamental voltages; without a neutral wire the zero sequence is zero."""
    i1_sequences: SymmetricalComponents
    neutral_a: F64
    """rms current of the neutral, measured or the sum of the phases; zero without a neutral wire."""
    ve_v: F64
    """Effective voltage, all components."""
    ie_a: F64
    """Effective current, all components."""
    ve1_v: F64
    ie1_a: F64
    veh_v: F64
    """Effective voltage of everything but the fundamental."""
    ieh_a: F64
    p_w: F64
    p1_w: F64
    ph_w: F64
    q1_var: F64
    """Sum of the fundamental reactive powers of the phases: what is billed."""
    se_va: F64
    """Effective apparent power 3 Ve Ie."""
    se1_va: F64
    sen_va: F64
    """Non-fundamental effective apparent power."""
    dei_var: F64
    dev_var: F64
    seh_va: F64
    deh_var: F64
    n_var: F64
    """Nonactive power, the root of Se^2 - P^2."""
    thd_eu: F64
    """VeH / Ve1, a ratio."""
    thd_ei: F64
    s1_pos_va: F64
    """Fundamental positive-sequence apparent power S1+."""
    p1_pos_w: F64
    q1_pos_var: F64
    su1_va: F64
    """Fundamental unbalanced power, the root of Se1^2 - S1+^2."""
    load_unbalance: F64
    """SU1 / S1+."""
    harmonic_pollution: F64
    """SeN / Se1."""
    pf: F64
    """P / Se, signed."""
    pf1_pos: F64
    """P1+ / S1+, signed."""
    s_arithmetic_va: F64
    """Sum of the apparent powers of the phases."""
    s_vector_va: F64
    """Root of P^2 + QB^2 + DB^2, each summed over the phases."""
    s1_vector_va: F64
    """Root of P1^2 + Q1^2, each summed over the phases."""
    pf_arithmetic: F64
    pf_vector: F64
    q_budeanu_var: F64
    d_budeanu_var: F64


def three_phase_powers(
    u: C128,
    i: C128,
    system: System,
    *,
    neutral: C128 | None = None,
    fundamental: int = 1,
    totals: Totals | None = None,
) -> ThreePhasePowers:
    """IEEE 1459 powers of a three-phase system.

    Parameters
    ----------
    u, i:
        complex128 (..., 3, components): rms phasors in V and A of L1, L2, L3, component 0 the constant.
        Without a neutral wire the voltages may be taken against any common point.
    system:
        Four or three wires.
    neutral:
        complex128 (..., components), measured current of the neutral; left out, it is the sum of the phases.
    fundamental:
        Component of the fundamental: 1 for arrays by order, the number of cycles for a window's spectrum.
    totals:
        rms values and power of each phase, float64 (..., 3), measured from the samples; without a neutral
        wire against the virtual star point.

    Raises
    ------
    MeteringError
        Not three phases, shapes that differ, or a neutral current in a three-wire system.

    Notes
    -----
    Four wires: Ie^2 = (Ia^2 + Ib^2 + Ic^2 + In^2) / 3 and Ve^2 = [3 (Va^2 + Vb^2 + Vc^2) + Vab^2 + Vbc^2 +
    Vca^2] / 18. Three wires: Ie^2 = (Ia^2 + Ib^2 + Ic^2) / 3 and Ve^2 = (Vab^2 + Vbc^2 + Vca^2) / 9.
    SU1^2 = Se1^2 - S1+^2 follows from the sequences without a difference: with Ve1^2 = V+^2 + W and
    Ie1^2 = I+^2 + J it is 9 (V+^2 J + W Ie1^2), where W = V-^2 + V0^2 / 2 and J = I-^2 + I0^2 + In^2 / 3.
    Source: IEEE Std 1459-2010, 3.2.2 and 3.2.3 (recalled, confirm against the standard).
    """
    if u.shape != i.shape or u.ndim < 2 or u.shape[-2] != 3:
        raise MeteringError(
            f"voltages {u.shape} and currents {i.shape}",
            expected="the same shape (..., 3 phases, components)",
        )
    if system is System.THREE_WIRE:
        if neutral is not None:
            raise MeteringError(
                "a neutral current in a three-wire system", expected="four wires, or no neutral"
            )
        u = u - u.mean(axis=-2, keepdims=True)
        neutral = np.zeros_like(i[..., 0, :])
    elif neutral is None:
        neutral = -i.sum(axis=-2)

    phases = single_phase_powers(u, i, fundamental=fundamental, totals=totals)
    ve1_squared, veh_squared = _effective_voltage(u, phases, system, fundamental)
    in1, inh_squared = fundamental_and_rest(neutral, fundamental)
    in1_squared = squares(in1)
    ie1_squared = ((phases.i1_a**2).sum(axis=-1) + in1_squared) / 3.0
    ieh_squared = ((phases.ih_a**2).sum(axis=-1) + inh_squared) / 3.0
    ve1, veh, ie1, ieh = map(np.sqrt, (ve1_squared, veh_squared, ie1_squared, ieh_squared))
    ve, ie = np.hypot(ve1, veh), np.hypot(ie1, ieh)

    u1_sequences = symmetrical_components(u[..., fundamental])
    i1_sequences = symmetrical_components(i[..., fundamental])
    s1_pos = 3.0 * u1_sequences.positive * np.conj(i1_sequences.positive)
    u_unbalance = squares(u1_sequences.negative) + squares(u1_sequences.zero) / 2.0
    i_unbalance = squares(i1_sequences.negative) + squares(i1_sequences.zero) + in1_squared / 3.0
    su1 = 3.0 * np.sqrt(squares(u1_sequences.positive) * i_unbalance + u_unbalance * ie1_squared)

    p, p1, ph, q1 = (each.sum(axis=-1) for each in (phases.p_w, phases.p1_w, phases.ph_w, phases.q1_var))
    q_budeanu, d_budeanu = phases.q_budeanu_var.sum(axis=-1), phases.d_budeanu_var.sum(axis=-1)
    se, se1 = 3.0 * ve * ie, 3.0 * ve1 * ie1
    dei, dev, seh = 3.0 * ve1 * ieh, 3.0 * veh * ie1, 3.0 * veh * ieh
    sen = np.sqrt(dei**2 + dev**2 + seh**2)
    s_arithmetic = phases.s_va.sum(axis=-1)
    s_vector = np.sqrt(p**2 + q_budeanu**2 + d_budeanu**2)
    return ThreePhasePowers(
        phases=phases,
        u1_sequences=u1_sequences,
        i1_sequences=i1_sequences,
        neutral_a=np.sqrt(in1_squared + inh_squared),
        ve_v=ve,
        ie_a=ie,
        ve1_v=ve1,
        ie1_a=ie1,
        veh_v=veh,
        ieh_a=ieh,
        p_w=p,
        p1_w=p1,
        ph_w=ph,
        q1_var=q1,
        se_va=se,
        se1_va=se1,
        sen_va=sen,
        dei_var=dei,
        dev_var=dev,
        seh_va=seh,
        deh_var=root(seh**2 - ph**2),
        n_var=root(se**2 - p**2),
        thd_eu=ratio(veh, ve1),
        thd_ei=ratio(ieh, ie1),
        s1_pos_va=np.abs(s1_pos),
        p1_pos_w=s1_pos.real,
        q1_pos_var=s1_pos.imag,
        su1_va=su1,
        load_unbalance=ratio(su1, np.abs(s1_pos)),
        harmonic_pollution=ratio(sen, se1),
        pf=ratio(p, se),
        pf1_pos=ratio(s1_pos.real, np.abs(s1_pos)),
        s_arithmetic_va=s_arithmetic,
        s_vector_va=s_vector,
        s1_vector_va=np.hypot(p1, q1),
        pf_arithmetic=ratio(p, s_arithmetic),
        pf_vector=ratio(p, s_vector),
        q_budeanu_var=q_budeanu,
        d_budeanu_var=d_budeanu,
    )


def _effective_voltage(
    u: C128, phases: SinglePhasePowers, system: System, fundamental: int
) -> tuple[F64, F64]:
    """Ve1^2 and VeH^2, float64 (...)."""
    line1, line_rest = fundamental_and_rest(u - np.roll(u, -1, axis=-2), fundamental)
    lines1, lines_rest = squares(line1).sum(axis=-1), line_rest.sum(axis=-1)
    if system is System.THREE_WIRE:
        return lines1 / 9.0, lines_rest / 9.0
    first, rest = (phases.u1_v**2).sum(axis=-1), (phases.uh_v**2).sum(axis=-1)
    return (3.0 * first + lines1) / 18.0, (3.0 * rest + lines_rest) / 18.0


def phases_from_lines(lines: F64) -> F64:
    """Voltages against the virtual star point from the three line voltages.

    Parameters
    ----------
    lines:
        (3, ...): u12, u23, u31 in V, samples or phasors.
    """
    star: F64 = (lines - np.roll(lines, 1, axis=0)) / 3.0
    return star


def aron_phases(u: F64, i: F64) -> tuple[F64, F64]:
    """The three phases of a two-wattmeter (Aron, Blondel) recording, voltages against the star point.

    Parameters
    ----------
    u:
        (2, ...): u12 and u32 in V.
    i:
        (2, ...): i1 and i3 in A; the third is minus their sum.
    """
    against_second = np.stack((u[0], np.zeros_like(u[0]), u[1]))
    star: F64 = against_second - against_second.mean(axis=0)
    return star, np.stack((i[0], -(i[0] + i[1]), i[1]))
