"""How APDUs travel: wrapper, datagrams, HDLC, mode E, M-Bus, P1 and the framings of pushes."""
