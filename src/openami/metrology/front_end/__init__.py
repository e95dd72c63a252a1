"""From the terminals to the counts: sensors, converter, compensation; measuring principles."""
