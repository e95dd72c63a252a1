"""Octets of any framing explained layer by layer."""
