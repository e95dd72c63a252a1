"""Floor 5: tariffs, bills and the explain trace."""
