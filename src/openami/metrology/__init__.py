"""From samples to powers, energy registers and power quality; front ends and the waveform generator.

Floor 2, legally relevant: imports `openami.quantities` only.
"""
