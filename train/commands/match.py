"""`l2a match`: which classes lend each other their scenes."""

from __future__ import annotations

from l2a.arguments import Arguments
from l2a.files import printable
from l2a.formats import DataSettings, read_videos
from l2a.options import Data, MapPicture
from semantic_match.doubts import weak_matches, weak_sentence
from semantic_match.embed import embed_classes, make_embedder
from semantic_match.match import match_classes, match_table, write_table
from semantic_match.picture import draw_map
from semantic_match.settings import MatchSettings
from train.commands import show


def run(arguments: Arguments) -> None:
    """Print the matches of classes and draw their map."""
    settings, picture = arguments[MatchSettings], arguments[MapPicture].map
    videos = read_videos(arguments[Data].data, arguments[DataSettings])
    embedder = make_embedder(settings.embedder)
    vectors = embed_classes(videos.classes, embedder)
    matches = match_classes(videos.classes, vectors, settings.matches)
    names = [printable(name) for name in videos.classes]
    width = max([28, *(len(name) + 2 for name in names)])
    show(f"{'foreground class':<{width}}{'background class':<{width}}similarity")
    for foreground, background, similarity in match_table(names, matches):
        show(f"{foreground:<{width}}{background:<{width}}{similarity}".rstrip())
    show(f"{len(matches)} matches of {len(videos.classes)} classes: --matches {settings.matches}")
    show(f"embedder: {embedder.identity}")
    if doubt := weak_sentence(names, weak_matches(matches, settings.matches), len(matches)):
        show(f"note: {doubt}")
    draw_map(picture, videos.classes, vectors, matches)
    table = picture.with_suffix(".tsv")
    write_table(table, videos.classes, matches)
    show(f"map: {picture}", f"table: {table}")
