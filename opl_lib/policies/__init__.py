"""What is served: towers, the two-tower policy, two stages, the item index."""
