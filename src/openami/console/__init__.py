"""Floor 7: the pages people look at."""
