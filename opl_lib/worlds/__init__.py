"""Where the truth is known: synthetic worlds, digits, logging policies."""
