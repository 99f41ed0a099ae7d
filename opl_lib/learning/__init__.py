"""A fit: learner, loop, steps, stacks, reward models."""
