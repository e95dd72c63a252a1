"""Powers of one phase by IEEE Std 1459-2010, clause 3.1, with the decompositions of Budeanu and Fryze.

Every quantity is a function of the phasors of voltage and current, constant component included. Arrays are
vectorised over leading axes (windows, phases). The rule never to be broken: what the standard defines as the
root of a difference of squares is computed as the root of a sum wherever the parts are known, so that a pure
sine has no distortion and nothing is NaN through rounding; a ratio without denominator is NaN, "not defined".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openami.metrology.powers.phasors import (
    complex_powers,
    fundamental_and_rest,
    ratio,
    root,
)
from openami.quantities.errors import MeteringError

F64 = npt.NDArray[np.float64]
C128 = npt.NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Totals:
    """What was measured from the samples of a window themselves, float64 (...).

    The spectrum of a window ends below half of the sampling rate, and of a window in which the load changes
    it is that of its periodic continuation; rms values and power of the samples have neither limit.
    """

    u_v: F64
    i_a: F64
    p_w: F64


RESOLUTION = 1e-6
"""Share of a squared rms value by which samples and spectrum may differ before the difference is taken for
content outside the spectrum: the accuracy of windows off nominal is some 1e-8 for the rms value, and what a
difference of squares leaves of it must not read as distortion."""


@dataclass(frozen=True, slots=True)
class SinglePhasePowers:
    """Quantities of IEEE 1459-2010, 3.1; every field is float64 (...), the leading axes of the phasors.

    The sign of active powers tells the direction (positive: delivered to the customer), that of Q1 and QB the
    kind (positive: inductive for import). Power factors take the sign of their active power. Apparent and
    nonactive powers have no sign.
    """

    u_v: F64
    """rms voltage, all components."""
    i_a: F64
    u1_v: F64
    """rms voltage of the fundamental."""
    i1_a: F64
    uh_v: F64
    """rms voltage of everything but the fundamental, DC included (VH)."""
    ih_a: F64
    phi1_deg: F64
    """Angle of the fundamental voltage before the current, -180 to 180; positive: the current lags."""
    p_w: F64
    """Active power, all components."""
    p1_w: F64
    """Fundamental active power."""
    ph_w: F64
    """Harmonic active power P - P1, DC included, signed: negative for a source of distortion."""
    q1_var: F64
    """Fundamental reactive power: what is billed (IEC 62053-24)."""
    s_va: F64
    """Apparent power U * I."""
    s1_va: F64
    sn_va: F64
    """Non-fundamental apparent power."""
    di_var: F64
    """Current distortion power U1 * IH."""
    dv_var: F64
    """Voltage distortion power UH * I1."""
    sh_va: F64
    """Harmonic apparent power UH * IH."""
    dh_var: F64
    """Harmonic distortion power, the root of SH^2 - PH^2."""
    n_var: F64
    """Nonactive power, the root of S^2 - P^2."""
    thd_u: F64
    """Total harmonic distortion of the voltage, UH / U1, a ratio."""
    thd_i: F64
    harmonic_pollution: F64
    """SN / S1."""
    pf: F64
    """Power factor P / S, signed."""
    pf1: F64
    """Displacement power factor P1 / S1, signed."""
    distortion_pf: F64
    """PF / PF1."""
    q_budeanu_var: F64
    """Budeanu's reactive power, the sum of Uh Ih sin."""
    d_budeanu_var: F64
    """Budeanu's distortion power, the root of S^2 - P^2 - QB^2."""
    q_fryze_var: F64
    """Fryze's reactive power, the root of S^2 - P^2; the same number as N."""
    i_active_a: F64
    """rms value of Fryze's active current P / U^2 * u(t)."""
    i_nonactive_a: F64
    """rms value of what Fryze's active current leaves of the current."""


def single_phase_powers(
    u: C128, i: C128, *, fundamental: int = 1, totals: Totals | None = None
) -> SinglePhasePowers:
    """IEEE 1459 powers of phases taken one by one.

    Parameters
    ----------
    u, i:
        complex128 (..., components), rms phasors in V and A as `phasors` gives them: component 0 is the
        constant, the others rise in frequency. Harmonics alone (orders 0, 1, 2 ...) or the whole spectrum of
        a window with its interharmonics.
    fundamental:
        Component of the fundamental: 1 for arrays by order, the number of cycles for a window's spectrum.
    totals:
        rms values and power measured from the samples; left out, they are those of the components.

    Raises
    ------
    MeteringError
        The shapes differ, or the fundamental is not among the components.

    Notes
    -----
    Source: IEEE Std 1459-2010, 3.1.2; Budeanu (1927) and Fryze (1932) as in its annexes.
    """
    if u.shape != i.shape:
        raise MeteringError(f"voltages {u.shape} and currents {i.shape}", expected="the same shape")
    u1, uh_squared = fundamental_and_rest(u, fundamental)
    i1, ih_squared = fundamental_and_rest(i, fundamental)
    u1_v, i1_a = np.abs(u1), np.abs(i1)
    each = complex_powers(u, i)
    first = each[..., fundamental].copy()  # the results must not keep the whole spectrum alive
    rest = each[..., :fundamental].sum(axis=-1) + each[..., fundamental + 1 :].sum(axis=-1)
    p1, q1, ph = first.real, first.imag, rest.real
    if totals is not None:
        uh_squared = with_total(u1_v, uh_squared, totals.u_v)
        ih_squared = with_total(i1_a, ih_squared, totals.i_a)
        ph = totals.p_w - p1
    p = p1 + ph
    uh_v, ih_a = np.sqrt(uh_squared), np.sqrt(ih_squared)
    u_v = np.hypot(u1_v, uh_v) if totals is None else totals.u_v
    i_a = np.hypot(i1_a, ih_a) if totals is None else totals.i_a
    q_budeanu = q1 + rest.imag

    s, s1 = u_v * i_a, u1_v * i1_a
    di, dv, sh = u1_v * ih_a, uh_v * i1_a, uh_v * ih_a
    sn = np.sqrt(di**2 + dv**2 + sh**2)
    dh_squared = sh**2 - ph**2
    # S^2 - P^2 = (S1^2 - P1^2) + SN^2 - PH (2 P1 + PH), and S1^2 - P1^2 is Q1^2 without cancellation.
    n_squared = q1**2 + sn**2 - ph * (2.0 * p1 + ph)
    n = root(n_squared)
    pf, pf1 = ratio(p, s), ratio(p1, s1)
    return SinglePhasePowers(
        u_v=u_v,
        i_a=i_a,
        u1_v=u1_v,
        i1_a=i1_a,
        uh_v=uh_v,
        ih_a=ih_a,
        phi1_deg=np.degrees(np.angle(first)),
        p_w=p,
        p1_w=p1,
        ph_w=ph,
        q1_var=q1,
        s_va=s,
        s1_va=s1,
        sn_va=sn,
        di_var=di,
        dv_var=dv,
        sh_va=sh,
        dh_var=root(dh_squared),
        n_var=n,
        thd_u=ratio(uh_v, u1_v),
        thd_i=ratio(ih_a, i1_a),
        harmonic_pollution=ratio(sn, s1),
        pf=pf,
        pf1=pf1,
        distortion_pf=ratio(pf, pf1),
        q_budeanu_var=q_budeanu,
        d_budeanu_var=root(n_squared - q_budeanu**2),
        q_fryze_var=n,
        i_active_a=np.abs(ratio(p, u_v)),
        i_nonactive_a=ratio(n, u_v),
    )


def with_total(first: F64, rest_squared: F64, total: F64) -> F64:
    """Squared rms value of everything but the fundamental, by the total where the spectrum lacks a part.

    Parameters
    ----------
    first:
        rms value of the fundamental.
    rest_squared:
        Squared rms value of the other components of the spectrum.
    total:
        rms value measured from the samples.
    """
    by_total = np.maximum(total**2 - first**2, 0.0)
    unseen = np.abs(by_total - rest_squared) > RESOLUTION * total**2
    return np.where(unseen, by_total, rest_squared)


def quadrant(p: F64, q: F64) -> npt.NDArray[np.int8]:
    """Quadrant of active and reactive power, int8 (...): 1 +P+Q, 2 -P+Q, 3 -P-Q, 4 +P-Q.

    Zero counts as positive. Source: IEC 62053-23, annex C.
    """
    below = np.where(p >= 0.0, 4, 3)
    above = np.where(p >= 0.0, 1, 2)
    return np.where(q >= 0.0, above, below).astype(np.int8)
