"""The semi-supervised setting: few labels, many videos (Learn2Augment, Sec. 5.2)."""
