"""The energy path: exact sums of integer samples, registers, pulses, thresholds."""
