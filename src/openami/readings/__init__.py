"""Floor 1: what travels. Interval blocks, register reads, events, evidence; the Door; read orders."""
