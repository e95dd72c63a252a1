"""Ciphering, signing, key agreement, high level security; keys and counters come from `openami.security`."""
