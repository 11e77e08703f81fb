"""`l2a match`: which classes lend each other their scenes."""

from __future__ import annotations

from collections import Counter

import numpy as np

from l2a.arguments import Arguments
from l2a.formats import DataSettings, read_videos
from l2a.options import Data, MapPicture
from l2a.text import printable
from semantic_match.doubts import weak_matches, weak_sentence
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import match_classes, match_weights, table_of, write_table
from semantic_match.picture import draw_map
from semantic_match.settings import MatchSettings
from semantic_match.tied import match_counts, scene_tie, tie_sentence
from train.commands import show


def run(arguments: Arguments) -> None:
    """Print the matches of classes and draw their map."""
    settings, picture = arguments[MatchSettings], arguments[MapPicture].map
    videos = read_videos(arguments[Data].data, arguments[DataSettings])
    embedder = make_embedder(settings.embedder)
    vectors = embed_classes(videos.classes, embedder)
    matches = match_classes(videos.classes, vectors, settings.matches)
    found = Counter(video.label for video in videos.of_split("train"))
    counts = np.array([found[name] for name in videos.classes])
    weights = match_weights(vectors, settings.matches, counts)
    names = [printable(name) for name in videos.classes]
    width = max([28, *(len(name) + 2 for name in names)])
    for foreground, background, *figures in table_of(names, matches, weights):
        last = "".join(f"{figure:<12}" for figure in figures)
        show(f"{foreground:<{width}}{background:<{width}}{last}".rstrip())
    show(f"{len(matches)} matches of {len(videos.classes)} classes: --matches {settings.matches}")
    show(f"embedder: {embedder.identity}")
    if doubt := weak_sentence(names, weak_matches(matches, settings.matches), len(matches)):
        show(f"note: {doubt}")
    # Which videos are fit is not known before they are prepared: all training videos are taken.
    tie = scene_tie(match_counts(len(names), matches, counts, counts, weights))
    if tied := tie_sentence(tie):
        show(f"note: {tied}")
    draw_map(picture, videos.classes, vectors, matches)
    table = picture.with_suffix(".tsv")
    write_table(table, videos.classes, matches, weights)
    show(f"map: {picture}", f"table: {table}")
