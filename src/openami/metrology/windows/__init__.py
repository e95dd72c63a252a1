"""Windows of whole cycles off nominal: frequency, resampling, harmonics and their groups."""
