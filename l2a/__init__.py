"""Learn2Augment's ground floor: data sets, media, clips, runs and the command line."""

__version__ = "0.1.0"
