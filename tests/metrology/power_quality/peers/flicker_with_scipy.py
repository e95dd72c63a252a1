"""The textbook flickermeter at the full sample rate with scipy's filters; run by the environment of peers.

Arguments: file.npz with u (n,), rate_hz, and the constants of block 3 as numbers; writes pinst (n,) to the
second file. Shares no code with the project: bilinear transform of the analogue transfer functions as given,
reference voltage = rms of the whole signal (steady), no decimation.
"""

import sys

import numpy as np
from scipy import signal

data = np.load(sys.argv[1])
rate = float(data["rate_hz"])
k, damping, w1, w2, w3, w4 = (2 * np.pi * x if i else x for i, x in enumerate(data["lamp"]))
x = data["u"] ** 2 / np.mean(data["u"] ** 2) - 1

high_pass = signal.bilinear([1.0, 0.0], [1.0, 2 * np.pi * 0.05], rate)
low_pass = signal.butter(6, float(data["corner_hz"]), fs=rate, output="sos")
resonance = signal.bilinear([k * w1, 0.0], [1.0, 2 * damping, w1 * w1], rate)
slope = signal.bilinear([1 / w2, 1.0], np.polymul([1 / w3, 1.0], [1 / w4, 1.0]), rate)
smoothing = signal.bilinear([1.0], [0.3, 1.0], rate)

y = signal.sosfilt(low_pass, x)
for numerator, denominator in (high_pass, resonance, slope):
    y = signal.lfilter(numerator, denominator, y)
np.savez(sys.argv[2], pinst=signal.lfilter(*smoothing, y * y))
