"""Floor 5: loss, theft and what else the readings tell."""
