"""The client of a meter: its association, what it asks, and what it makes of the answers."""
