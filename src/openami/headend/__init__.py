"""Floor 3: collection over the wire; hands readings to an injected Door."""
