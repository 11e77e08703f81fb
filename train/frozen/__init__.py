"""Training on features of a trunk that stays as it is."""
