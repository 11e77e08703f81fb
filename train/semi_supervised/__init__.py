"""The semi-supervised setting (Sec. 5.2): few labels, many videos without."""
