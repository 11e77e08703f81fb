"""Puts the rooms together: stage one, stage two, and what runs both."""
