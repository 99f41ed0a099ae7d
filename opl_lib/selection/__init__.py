"""What to do about it: select, rehearse, watch, stop early."""
