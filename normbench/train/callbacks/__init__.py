"""What happens beside the training: one thing a callback."""
