"""Validation, estimation and editing: raw readings in, versioned final values and exceptions out."""
