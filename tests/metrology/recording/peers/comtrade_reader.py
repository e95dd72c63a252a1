"""Reads COMTRADE records with the third-party package `comtrade` and writes what it found as NPZ.

Arguments: the NPZ to write, then the records. A process of its own, in the environment of the peers.
"""

import sys

import comtrade
import numpy as np

found = {}
for number, path in enumerate(sys.argv[2:]):
    record = comtrade.load(path, use_numpy_arrays=True, use_double_precision=True, ignore_warnings=True)
    found |= {
        f"analog{number}": np.array(record.analog, dtype=np.float64),
        f"status{number}": np.array(record.status, dtype=np.int64),
        f"time{number}": np.array(record.time, dtype=np.float64),
        f"names{number}": np.array(record.analog_channel_ids),
        f"phases{number}": np.array(record.analog_phases),
        f"start{number}": np.array(record.start_timestamp.isoformat()),
        f"trigger{number}": np.array(record.trigger_timestamp.isoformat()),
        f"frequency{number}": np.array(record.frequency),
    }
np.savez(sys.argv[1], **found)
