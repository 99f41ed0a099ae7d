"""What was logged: feedback, propensities, support, clusters, Open Bandit."""
