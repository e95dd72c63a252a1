"""Floor 1: who and where, in SQL; every row with validity and record time."""
