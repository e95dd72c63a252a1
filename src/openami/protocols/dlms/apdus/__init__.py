"""What the two sides say to each other: ACSE and xDLMS APDUs, and how long ones travel in blocks."""
