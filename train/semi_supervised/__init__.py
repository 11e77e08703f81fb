"""Learning from few labelled and many unlabelled videos (Learn2Augment, Sec. 5.2)."""
