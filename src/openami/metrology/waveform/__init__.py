"""The waveform generator, and the closed-form integrals that are the reference of the test bench."""
