"""Recorded waveforms: NPZ, WAV, CSV and COMTRADE files."""
