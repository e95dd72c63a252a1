"""Floor 0: the one vocabulary. OBIS codes, units and quanta, status, civil time, clocks, errors."""
