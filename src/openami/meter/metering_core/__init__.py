"""The legally relevant part of the meter: the only writer of energy registers (IR 46, WELMEC 7.2)."""
