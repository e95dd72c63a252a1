"""Object lists of companion specifications as data, and a software meter that shows itself as one says."""
