"""The maxima of an envelope that stand out from those around them, and the waves near them.

Times are analysis samples (4 ms). A maximum is judged up to three times: when `EARLY`, when `CLOSE`
and when `CONFIRM` samples and one more after it are known.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# pythran export REACH, EARLY, CLOSE, CONFIRM, PEER, LOCAL, DWARFED
REACH = 18  # 72 ms, greatest distance between the envelope's peak and the R peak
EARLY = 12  # 48 ms, a peak with the shape of the last beats is reported after so long
CLOSE = 45  # 180 ms, a candidate is the highest peak within so much on both sides: `SHORTEST_RR`
CONFIRM = 55  # 220 ms, and beyond `CLOSE` no peak within so much is higher by `PEER`
PEER = 1.15  # ratio of levels; not 1, so that beats at 300 per minute do not suppress each other
LOCAL = 20  # 80 ms, in noise a candidate is the highest peak within so much on both sides
DWARFED = 0.2  # and has at least this share of the level of any peak within `CONFIRM`

_AROUND = np.arange(-REACH, REACH + 1)

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]


# pythran export found(float64[:,:,:], int, int, int, int)
def found(
    known: Floats, n: int, start: int, smooth_delay: int, delay: int
) -> tuple[Ints, Ints, Floats, Bools, Floats, Ints, Ints, Floats]:
    """Find and measure the maxima that each of the newest n samples shows to stand out.

    The R peak is where the energy in the band is highest near the envelope's peak.

    Parameters
    ----------
    known : ndarray of float64, shape (3, leads, samples)
        The leads, their rectified QRS band, and its envelope, mV; NaN where missing.
    n : int
    start : int
        Analysis index of the first sample.
    smooth_delay, delay : int
        Of the envelope against the band, and against the lead.

    Returns
    -------
    column : ndarray of int64, shape (maxima,)
        The leads, rising. What follows has a row for each maximum too.
    peak : ndarray of int64
        Analysis index of the envelope's peak.
    level : ndarray of float64
        The envelope there, mV.
    dominant : ndarray of bool
        Whether it is the highest around.
    slope : ndarray of float64
        The steepest step around the R peak, mV.
    r_index, known_at : ndarray of int64
        The R peak, and the end of the samples that show the maximum to stand out.
    steps : ndarray of float64, shape (maxima, 2 * REACH)
        The steps of the lead around the R peak, mV.
    """
    length = known.shape[2]
    lead, energy, envelope = known[0].ravel(), known[1].ravel(), known[2].ravel()
    reported, dominant = standing_out(known[2], n)
    which = reported.ravel().nonzero()[0]
    newest, look = which // 3, which % 3  # among the newest samples, lead by lead
    column = newest // n
    place = newest - column * n
    before = column * length  # samples of the leads before
    at = before + place + (length - n)
    peak = at - np.array([CONFIRM + 1, CLOSE + 1, EARLY + 1])[look]
    rows = (peak - smooth_delay)[:, None] + _AROUND
    near = energy[rows.ravel()].reshape(rows.shape)
    # Missing samples count as zero energy.
    r = peak + np.where(near > 0.0, near, 0.0).argmax(axis=1) - (REACH + delay)
    rows = r[:, None] + _AROUND
    around = lead[rows.ravel()].reshape(rows.shape)
    steps = around[:, 1:] - around[:, :-1]
    size = np.abs(steps)
    slope = np.where(size > 0.0, size, 0.0).max(axis=1)
    origin = start - before
    level, is_dominant = envelope[peak], dominant.ravel()[which]
    return column, peak + origin, level, is_dominant, slope, r + origin, at + origin + 1, steps


def standing_out(envelope: Floats, n: int) -> tuple[Bools, Bools]:
    """Find the maxima of envelopes that each of the newest n samples shows to stand out.

    Parameters
    ----------
    envelope : ndarray of float64, shape (leads, samples)
        The newest samples, and at least 2 * CONFIRM + 2 before them. A missing sample is never a
        maximum.
    n : int

    Returns
    -------
    reported, dominant : ndarray of bool, shape (leads, n, 3)
        For the delays `CONFIRM`, `CLOSE` and `EARLY`, whether there is a maximum so far back that
        stands out, and whether it is the highest around.
    """
    leads, length = envelope.shape
    # One lead after the other, since operations on one contiguous row cost least. Windows that span
    # two leads are computed too, and left out at the end.
    e = envelope.ravel()
    inner = e[1:-1]
    peaks = np.where((inner > e[:-2]) & (inner >= e[2:]), inner, 0.0)
    # h<width>[i] is the highest of peaks[i : i + width]; each width adds to the one before.
    h2 = np.maximum(peaks[:-1], peaks[1:])
    h4 = np.maximum(h2[:-2], h2[2:])
    h8 = np.maximum(h4[:-4], h4[4:])
    h12 = np.maximum(h8[:-4], h8[4:])  # EARLY
    h20 = np.maximum(h12[:-8], h12[8:])  # LOCAL
    h40 = np.maximum(h20[:-20], h20[20:])
    h45 = np.maximum(h40[:-5], h40[5:])  # CLOSE
    h55 = np.maximum(h45[:-10], h45[10:])  # CONFIRM

    # From the peak at `first` on; so many have EARLY, CLOSE and CONFIRM peaks after them.
    first, after = CONFIRM, CONFIRM + 1
    early, close = len(peaks) - first - EARLY, len(peaks) - first - CLOSE
    confirm = len(peaks) - first - CONFIRM
    own = peaks[first : first + early]
    limit = PEER * own
    rises = (h45[first - CLOSE : first - CLOSE + early] < own) & (h55[:early] <= limit)
    at, right = own[:confirm], h55[after : after + confirm]
    is_first = rises & (h12[after : after + early] <= own)
    is_highest = rises[:close] & (h45[after : after + close] <= own[:close])
    is_confirmed = is_highest[:confirm] & (right <= limit[:confirm])
    is_local = (h20[first - LOCAL : first - LOCAL + confirm] < at) & (
        h20[after : after + confirm] <= at
    )
    is_local &= at >= DWARFED * np.maximum(h55[:confirm], right)

    whole = np.zeros((4, leads * length), np.bool_)  # by sample
    whole[0, after : after + confirm] = is_local
    whole[1, after : after + close] = is_highest
    whole[2, after : after + early] = is_first
    whole[3, after : after + confirm] = is_confirmed
    by_lead = whole.reshape(4, leads, length)
    last = length - n  # the newest of those with no peak after them
    reported = np.empty((leads, n, 3), np.bool_)
    reported[:, :, 0] = by_lead[0, :, last - CONFIRM - 1 : length - CONFIRM - 1]
    reported[:, :, 1] = by_lead[1, :, last - CLOSE - 1 : length - CLOSE - 1]
    reported[:, :, 2] = by_lead[2, :, last - EARLY - 1 : length - EARLY - 1]
    dominant = reported.copy()
    dominant[:, :, 0] = by_lead[3, :, last - CONFIRM - 1 : length - CONFIRM - 1]
    return reported, dominant
