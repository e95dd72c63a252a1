"""Keys, cipher suites, signatures and counters (floor 1): nothing here is ever printed or logged in clear."""
