"""The test bench: accuracy tests of software meters against a reference of its own (floor 6)."""
