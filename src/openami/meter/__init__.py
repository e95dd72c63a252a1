"""Floor 3: the software meter."""
