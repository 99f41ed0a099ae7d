"""What a policy is worth: terms, estimators, intervals, evaluate."""
