"""Floor 2: sans-IO codecs and sessions, and the interface of meter drivers."""
