"""Values as octets: A-XDR, date-times, compact arrays, scalers and units, profile buffers in columns."""
