"""openami: an open advanced metering infrastructure, from the waveform to the bill.

The package is a house of stations on floors (see ``docs/architecture.md``); a station imports only
stations below its own.
"""

__version__ = "0.1.0"
