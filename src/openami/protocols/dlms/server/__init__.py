"""The meter's side: logical devices, who may associate with them, sessions over each framing, pushes."""
