"""Floor 6: one utility in one folder: registry, stores, rule packs and bills, wired together."""
