"""Words and settings files ─► settings; every remedy that a message proposes works."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compositing.settings import CompositeSettings, ExportSettings, PrepareSettings
from l2a.arguments import Arguments, parse
from l2a.demo import SETTINGS
from l2a.errors import InputError
from l2a.settings import ClipSettings, setting
from l2a.values import ConversionError, convert, in_words
from selector.settings import ReinforceSettings, SelectorSettings
from train.command_table import ALL_GROUPS, COMMANDS
from train.settings.full import ClassifierSettings, FullSettings, StageTwoSettings

ROOT = Path(__file__).resolve().parents[1]
NEEDED = {
    "data": ["DATA"],
    "run": ["RUN"],
    "out": ["--out", "OUT"],
    "selector": ["--selector", "S"],
    "classifier": ["--classifier", "C"],
}


def parsed(command: str, *words: str) -> Arguments:
    """The arguments of a command that is given all that it needs, and `words`."""
    groups = COMMANDS[command].groups
    needed = [
        word
        for group in groups
        for field in fields(group)
        if field.default is MISSING
        for word in NEEDED[field.name]
    ]
    return parse(command, "", groups, [*needed, *words], known=ALL_GROUPS)


def message(command: str, *words: str) -> str:
    """The sentence that these words are refused with."""
    with pytest.raises(InputError) as error:
        parsed(command, *words)
    text = str(error.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def written(folder: Path, text: str | bytes) -> str:
    """A settings file as an option."""
    path = folder / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"--config={path}"


# --- every remedy works -------------------------------------------------------------------------

LONG_OPTIONS = [
    # command, wrong words, what the message proposes, and words that do what it proposes
    ("train", ["--hidden", "x"], "a list such as 256,128;", ["--hidden", "256,128"]),
    ("train", ["--hidden", "256;128"], "a list such as 256,128;", ["--hidden=256,128"]),
    ("train", ["--hidden", "[a]"], "a list such as 256,128;", ["--hidden", "[256, 128]"]),
    ("train", ["--hidden", "256,", "128"], "a list such as 256,128;", ["--hidden", "256", "128"]),
    ("train", ["--lr", "1", "b"], "write lists with commas and without blanks, as 256,128",
     ["--hidden", "256,128"]),
    ("train", ["--hidden", "[]"], "give at least one size, each 1 or more", ["--hidden", "1"]),
    ("train", ["--lr", "fast"], "a finite number;", ["--lr", "1e-3"]),
    ("train", ["--lr", "nan"], "a finite number;", ["--lr=0.5"]),
    ("train", ["--lr", "0"], "it must be above 0", ["--lr", "0.001"]),
    ("train", ["--budget", "x"], "a whole number;", ["--budget", "10"]),
    ("train", ["--budget", "1.5"], "a whole number;", ["--budget", "null"]),
    ("train", ["--budget", "9" * 400], "a whole number;", ["--budget", "9"]),
    ("train", ["--budget", "0"], "at least 1", ["--budget", "1"]),
    ("train", ["--flip=maybe"], "true or false;", ["--flip=true"]),
    ("train", ["--flip=0"], "true or false;", ["--flip=false"]),
    ("train", ["--no-flip=x"], "perhaps --flip is meant;", ["--flip"]),
    ("train", ["--flipp"], "perhaps --flip is meant;", ["--no-flip"]),
    ("train", ["--bugdet", "1"], "perhaps --budget is meant;", ["--budget", "1"]),
    ("train", ["-budget", "1"], "perhaps --budget is meant;", ["--budget", "1"]),
    ("train", ["--engine", "x"], "one of local, ray;", ["--engine", "ray"]),
    ("train", ["--label-rule", "x"], "one of mixed, foreground, actor;", ["--label_rule=actor"]),
    ("train", ["--lr"], "without a value; it must be a finite number", ["--lr", "1"]),
    ("train", ["--layers="], "a path;", ["--layers", "somewhere"]),
    ("train", ["--seed=-1"], "a whole number from 0 to 4294967295", ["--seed", "4294967295"]),
    ("train", ["--momentum", "1"], "0 or more, and below 1", ["--momentum", "0"]),
    ("train", ["--weight-decay", "-1"], "0 or more", ["--weight-decay", "0"]),
    ("train", ["--warmup-epochs", "-1"], "0 (none) or more", ["--warmup-epochs", "0"]),
    ("train", ["--environment-lr", "0"], "above 0", ["--environment-lr", "0.1"]),
    ("train", ["--validation-clips", "0"], "at least 1", ["--validation-clips", "1"]),
    ("train", ["--probe", "0.6"], "a share from 0 (none) to 0.5", ["--probe", "0.5"]),
    ("train", ["--trunk-lr", "1"], "0 (frozen) or more, and below 1", ["--trunk-lr", "0"]),
    ("train", ["--trunk-weights", "x.pth"], "name its network with --trunk",
     ["--trunk-weights", "x.pth", "--trunk", "r3d_18"]),
    ("train", ["--finetune-selector"], "name it with --selector",
     ["--finetune-selector", "--selector", "s"]),
    ("train", ["--finetune-selector"], "or leave --finetune-selector out", []),
    ("train", ["--selector="], "give a Selector's folder, or leave it out", ["--selector", "s"]),
    ("train", ["--crop", "300"], "make it smaller, or the frames larger", ["--crop", "100"]),
    ("train", ["--crop", "300"], "make it smaller, or the frames larger",
     ["--crop", "300", "--height", "300", "--width", "300"]),
    ("train", ["--dropout", "1"], "0 or more, and below 1", ["--dropout", "0"]),
    ("train", ["--label-scale", "0"], "a number above 0", ["--label-scale", "0.1"]),
    ("train", ["--agreement-scale", "-1"], "0 (not used) or more", ["--agreement-scale", "0"]),
    ("train", ["--trajectories", "2"], "only the reward counterfactual",
     ["--trajectories", "2", "--reward", "counterfactual"]),
    ("train", ["--roll-back"], "only the reward counterfactual",
     ["--roll-back", "--reward=counterfactual"]),
    ("train", ["--explore-low", "0.95"], "two numbers in 0..1, the lower one first",
     ["--explore-low", "0", "--explore-high", "1"]),
    ("train", ["--settle", "0"], "above 0, or 1 to never stop early", ["--settle", "1"]),
    ("train", ["--class-cap", "0.5"], "0 (no cap), or 1 (an even share) or more",
     ["--class-cap", "0"]),
    ("train", ["--class-cap", "0.5"], "or 1 (an even share) or more", ["--class-cap", "1"]),
    ("train", ["--recording-cap", "-1"], "0 (no cap), or 1 or more", ["--recording-cap", "0"]),
    ("train", ["--faces", "mp4"], "some of videofolder, mmaction2",
     ["--faces", "videofolder,mmaction2"]),
    ("train", ["--crf", "52"], "0..51", ["--crf", "51"]),
    ("train", ["--preset", "x"], "one of ultrafast, superfast", ["--preset", "superfast"]),
    ("train", ["--resolution", "3"], "0 (as it is) or 16 pixels or more", ["--resolution", "16"]),
    ("train", ["--clip-length", "-1"], "or a number of seconds", ["--clip-length", "2.5"]),
    ("train", ["--shard-size", "0"], "1 MB or more", ["--shard-size", "1"]),
    ("train", ["--ray-address", "auto"], "needs engine ray",
     ["--ray-address", "auto", "--engine", "ray"]),
    ("train", ["--workers=-1"], "0 or more", ["--workers", "0"]),
    ("train", ["--frames-at-once", "0"], "1 or more", ["--frames-at-once", "1"]),
    ("train", ["--dilate", "0.6"], "in 0..0.5", ["--dilate", "0.5"]),
    ("train", ["--min-gamma", "0.8"], "must not be above max_gamma (0.7)",
     ["--min-gamma", "0.7"]),
    ("train", ["--max-side", "15"], "16 pixels or more", ["--max-side", "16"]),
    ("train", ["--alpha", "0"], "above 0", ["--alpha", "0.1"]),
    ("train", ["--scale", "5"], "in 1..4", ["--scale", "4"]),
    ("train", ["--val-share", "1"], "between 0 and 1", ["--val-share", "0.5"]),
    ("train", ["--group-pattern", "("], "is not a regular expression", ["--group-pattern", "(a)"]),
    ("train", ["--group-pattern", "a"], "write one, around the part", ["--group-pattern=a(b)"]),
    ("preview", ["--count", "0"], "at least 1", ["--count", "1"]),
    ("select", ["--budget", "0"], "at least 1", ["--budget", "1"]),
    ("evaluate", ["--subset", "tset"], "one of test, val, train;", ["--subset", "val"]),
    ("train", ["EXTRA"], "one word too many", []),
    ("train", ["--augment", "videomix", "cutmixup"], "--augment 'videomix cutmixup'",
     ["--augment", "videomix cutmixup"]),
    ("train", ["--methods", "tcl", "s4l"], "--methods 'tcl s4l'", ["--methods", "tcl s4l"]),
    ("train", ["--config"], "name a YAML file after it", [f"--config={SETTINGS}"]),
    ("train", ["--config=a", "--config=b"], "give one file", ["--config", str(SETTINGS)]),
]  # fmt: skip


@pytest.mark.parametrize(("command", "wrong", "remedy", "right"), LONG_OPTIONS)
def test_every_remedy_that_a_message_proposes_works(
    command: str, wrong: list[str], remedy: str, right: list[str]
) -> None:
    assert remedy in message(command, *wrong)
    parsed(command, *right)


def test_lists_may_be_written_in_every_usual_way() -> None:
    for text in ("256,128", "[256,128]", "[256, 128]", "(256, 128)", "256, 128", '["256", 128]'):
        assert parsed("train", "--hidden", text)[SelectorSettings].hidden == (256, 128)
    assert parsed("train", "--hidden", "256", "128", "--lr=1")[SelectorSettings].hidden == (
        256,
        128,
    )
    assert parsed("train", "--hidden", "7")[SelectorSettings].hidden == (7,)


def test_words_that_belong_together_and_words_that_do_not() -> None:
    settings = parsed("train", "--weight-decay=0", "--no-flip", "--lr", "1e-2", "--lr", "0.5")
    assert settings[ClassifierSettings] == ClassifierSettings(weight_decay=0, flip=False, lr=0.5)
    with pytest.raises(InputError, match="`l2a train` needs DATA and --out; see"):
        parse("train", "", COMMANDS["train"].groups, [], known=ALL_GROUPS)


def test_an_augmentation_stays_a_text_and_a_list_becomes_one(tmp_path: Path) -> None:
    for text, value in [
        ("videomix,none", "videomix,none"),
        ("[videomix, none]", ("videomix", "none")),
        ("videomix", "videomix"),
        ("null", None),
    ]:
        assert parsed("train", "--augment", text)[StageTwoSettings].augment == value
        file = written(tmp_path, f"augment: {text}")
        assert parsed("train", file)[StageTwoSettings].augment == value


# --- kinds --------------------------------------------------------------------------------------


@given(st.one_of(st.none(), st.text(), st.lists(st.text())))
def test_any_text_is_a_value_of_its_kind_or_unfit(text: Any) -> None:
    kinds: list[Any] = [bool, int, float, str, Path, Literal["a", "b"], tuple[int, ...], int | None,
                        tuple[str, ...] | str | None]  # fmt: skip
    for kind in kinds:
        try:
            value = convert(text, kind)
        except ConversionError:
            assert in_words(kind)
            continue
        assert value is None or type(value) in (bool, int, float, str, tuple, type(Path()))
        assert value is None or "\0" not in str(value)


@given(st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_they_are_written(whole: int, number: float) -> None:
    assert convert(str(whole), int) == whole
    assert convert(repr(number), float) == number
    assert convert([str(whole)], tuple[int, ...]) == (whole,)


def test_every_kind_of_every_setting_is_known_and_takes_its_own_default() -> None:
    """As `run.yaml` and pairs files write it: what a run was made with can be given again."""
    import typing

    for group in ALL_GROUPS:
        for field in fields(group):
            kind = typing.get_type_hints(group)[field.name]
            assert in_words(kind)
            if field.default is None or isinstance(field.default, (str, int, float, tuple, Path)):
                default = field.default
                text = [str(i) for i in default] if isinstance(default, tuple) else default
                shown = text if text is None or isinstance(text, list) else str(text)
                assert convert(shown, kind) == field.default, field.name


# --- groups -------------------------------------------------------------------------------------


def test_a_group_sets_the_settings_of_its_own(tmp_path: Path) -> None:
    text = """
clips: {crop: 100}
classifier:
  epochs: 3
  network: tiny3d
selector: {hidden: [16, 8]}
stage_two: {compare: yes}
lr: 0.5
"""
    settings = parsed("train", written(tmp_path, text), "--epochs", "4")
    assert settings[ClassifierSettings] == ClassifierSettings(epochs=4, network="tiny3d", lr=0.5)
    assert settings[SelectorSettings].hidden == (16, 8)
    assert settings[ClipSettings].crop == 100
    assert settings[StageTwoSettings].compare


def test_what_is_a_setting_and_a_group_is_decided_by_its_value(tmp_path: Path) -> None:
    both = written(tmp_path, "classifier: {batch_size: 3}\nselector: {label_scale: 2}\n")
    assert parsed("evaluate", both, "--classifier", "c")[ClassifierSettings].batch_size == 3
    from l2a.options import FromClassifier, FromSelector

    single = written(tmp_path, "classifier: c.safetensors\nselector: folder\n")
    groups = COMMANDS["evaluate"].groups
    words = ["d", "--out", "o", single]
    arguments = parse("evaluate", "", groups, words, known=ALL_GROUPS)
    assert arguments[FromClassifier].classifier == Path("c.safetensors")
    assert parsed("train", single)[FromSelector].selector == "folder"
    nested = written(tmp_path, "selector: {selector: folder, hidden: 8}\ndata: {format: lists}\n")
    assert parsed("train", nested)[FromSelector].selector == "folder"
    assert parsed("train", nested)[SelectorSettings].hidden == (8,)


def test_a_file_may_hold_what_other_commands_take(tmp_path: Path) -> None:
    file = written(tmp_path, "stage_two: {budget: 3}\nexport: {crf: 20, dry_run: true}\ncount: 3")
    assert parsed("check", file)
    assert parsed("train", file)[ExportSettings].crf == 20
    from l2a.options import Budget

    assert parsed("select", file)[Budget].budget == 3
    # Two commands have a setting of that name: each takes its own.
    pairs = written(tmp_path, "export: {pairs: a.parquet}\npreview: {pairs: b.parquet}\n")
    from l2a.options import FromPairs, PreviewSettings

    assert parsed("export", pairs)[FromPairs].pairs == Path("a.parquet")
    assert parsed("preview", pairs)[PreviewSettings].pairs == Path("b.parquet")


def test_data_and_out_may_stand_in_the_file(tmp_path: Path) -> None:
    from l2a.options import Data, Out

    file = written(tmp_path, "data: /d\nrun: {out: /o, seed: 3}\n")
    arguments = parse("train", "", COMMANDS["train"].groups, [file], known=ALL_GROUPS)
    assert (arguments[Data].data, arguments[Out].out) == (Path("/d"), Path("/o"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("classifier: {epoch: 3}", "sets 'epoch' in the group classifier, which has no such"),
        ("classifier: {epoch: 3}", "perhaps 'epochs' is meant."),
        ("classifier: {crop: 3}", "it belongs to the group clips."),
        ("clasifier: {epochs: 3}", "group 'clasifier', which no command knows; perhaps 'class"),
        ("epochs: {epochs: 3}", "takes epochs for a group; write `epochs: VALUE`."),
        ("clips: 3", "gives the group clips a value; write its settings below it, such as `clips:"),
        ("epoch: 3", "sets 'epoch', which no command knows; perhaps 'epochs' is meant."),
        ("epochs: 3\nclassifier: {epochs: 4}", "sets epochs twice; keep one of the two lines."),
        ("epochs: 3\nepochs: 3", "sets epochs twice"),
        ("classifier: {epochs: 3}\nclassifier: {epochs: 4}", "sets epochs twice"),
        ("classifier: {epochs: {a: 3}}", "sets epochs to a nested value; write plain text or a"),
        ("hidden: [[1]]", "sets hidden to a nested value"),
        ("classifier: {lr: fast}", "classifier.lr in SETTINGS is 'fast', but must be a finite num"),
        ("lr: [1, 2]", "lr in SETTINGS is '1,2', but must be a finite number;"),
        ("lr:", "lr in SETTINGS is null, but must be a finite number;"),
        ("- lr: 1", "holds no settings; write one `name: value` a line."),
        ("just text", "holds no settings"),
        ("? [a]\n: 3", "has a name that is not text"),
        ("<<: {epochs: 3}", "which no command knows"),
        ("lr: 1\n---\nlr: 2", "is not a readable YAML file"),
        ("lr: *a", "is not a readable YAML file"),
        ("lr: [1", "is not a readable YAML file"),
        ("\tlr: 1", "is not a readable YAML file"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_one_sentence(text: str, sentence: str, tmp_path: Path) -> None:
    said = message("train", written(tmp_path, text)).replace(str(tmp_path), "")
    assert sentence in said.replace("/settings.yaml", "SETTINGS")


def test_twice_is_twice_for_every_command_and_by_every_name(tmp_path: Path) -> None:
    file = written(tmp_path, "epochs: 3\nclassifier: {epochs: 4}")
    assert "sets epochs twice" in message("match", file)
    file = written(tmp_path, "faces: a\nexport: {layouts: b}")
    with pytest.raises(InputError, match="sets layouts twice"):
        parse("x", "", [Renamed], [file], known=[Renamed])


def test_the_shipped_settings_are_written_by_group() -> None:
    import yaml

    for path in (SETTINGS, *(ROOT / "configs").rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert content and all(isinstance(group, dict) for group in content.values()), path
    demo = parsed("train", f"--config={SETTINGS}")
    assert (demo[StageTwoSettings].budget, demo[CompositeSettings].label_rule) == (240, "actor")


def test_groups_are_called_as_the_settings_of_train_are() -> None:
    import typing

    kinds = typing.get_type_hints(FullSettings)
    assert {name: kind.GROUP for name, kind in kinds.items()} == {name: name for name in kinds}
    assert all(group.GROUP for group in ALL_GROUPS)


# --- names of earlier versions ------------------------------------------------------------------


@dataclass(frozen=True)
class Renamed:
    """Layouts.

    Attributes:
        layouts: for whom.
    """

    GROUP: ClassVar[str] = "export"

    layouts: str = setting("all", formerly=("faces",))


@pytest.mark.parametrize("way", ["word", "flat", "group", "pairs"])
def test_a_setting_is_still_known_by_its_former_name(way: str, tmp_path: Path) -> None:
    words: dict[str, list[str]] = {
        "word": ["--faces", "x"],
        "flat": [written(tmp_path, "faces: x")],
        "group": [written(tmp_path, "export: {faces: x}")],
        "pairs": [],
    }
    words["flat"] = [written(tmp_path, "faces: x")] if way == "flat" else words["flat"]
    defaults = {"faces": "x"} if way == "pairs" else None
    arguments = parse("x", "", [Renamed], words[way], known=[Renamed], defaults=defaults)
    assert arguments[Renamed].layouts == "x"


# --- hostile files ------------------------------------------------------------------------------

LAUGHS = "segmenter: &a [l, l, l, l, l, l, l, l, l]\n" + "".join(
    f"{name}: &{chr(98 + index)} [{', '.join(['*' + chr(97 + index)] * 9)}]\n"
    for index, name in enumerate(["dilate", "boxes", "max_gap", "min_speck", "min_gamma",
                                  "max_gamma", "max_unseen", "max_hole", "max_frames"])
)  # fmt: skip

HOSTILE: dict[str, str | bytes] = {
    "a date": "dilate: 2020-01-01",
    "a huge whole number": "max_side: " + "9" * 400,
    "a number of 100,000 digits": "max_side: " + "9" * 90_000,
    "a huge float": "dilate: 1e999",
    "not a number": "dilate: .nan",
    "infinite": "dilate: .inf",
    "laughs": LAUGHS,
    "itself": "segmenter: &a [*a]",
    "a mapping that holds itself": "segmenter: &a {b: *a}",
    "a root that holds itself": "&a {segmenter: *a}",
    "a set": "segmenter: !!set {a, b}",
    "an object": "segmenter: !!python/object/apply:os.getcwd []",
    "a name": "segmenter: !!python/name:os.getcwd",
    "binary": "segmenter: !!binary aGVsbG8=",
    "an own tag": "segmenter: !mine x",
    "deep lists": "segmenter: " + "[" * 40_000,
    "deep mappings": "segmenter: " + "{a: " * 20_000,
    "deep blocks": "".join(" " * depth + "a:\n" for depth in range(400)),
    "an unknown alias": "segmenter: *gone",
    "a text for a number": "max_side: large",
    "a list for a number": "max_side: [1, 2]",
    "a mapping for a number": "max_side: {a: 1}",
    "a number for a switch": "boxes: 3",
    "nothing for a number": "max_side: ~",
    "an octal": "max_side: 0o17",
    "base sixty": "max_side: 1:30:00",
    "a NUL": 'segmenter: "a\\0b"',
    "a raw NUL": b"segmenter: a\0b",
    "UTF-16": "segmenter: x".encode("utf-16"),
    "UTF-32": "segmenter: x".encode("utf-32"),
    "Latin-1": "segmenter: größe".encode("latin-1"),
    "a video": bytes(range(256)) * 200,
    "zeros": bytes(200_000),
    "an escape in a name": '"\\x1b[2Jx": 3',
    "a very long name": f"{'x' * 50_000}: 3",
    "an empty name": '"": 3',
    "a null name": "~: 3",
    "too large": "#" * 100_001,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_answered_with_one_sentence_and_at_once(
    name: str, tmp_path: Path
) -> None:
    file = written(tmp_path, HOSTILE[name])
    began = time.process_time()
    said = message("prepare", file)
    assert time.process_time() - began < 3
    assert len(said) < 1500
    assert "settings.yaml" in said


def a_folder(place: Path) -> None:
    place.mkdir()


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_terabyte(place: Path) -> None:
    with place.open("wb") as file:
        file.truncate(2**40)


def a_link_to_itself(place: Path) -> None:
    place.symlink_to(place)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on Windows")
@pytest.mark.parametrize("make", [a_folder, a_pipe, a_terabyte, a_link_to_itself])
def test_what_is_no_settings_file_is_not_read(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "settings.yaml")
    assert "settings.yaml" in message("prepare", f"--config={tmp_path / 'settings.yaml'}")


@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_one_sentence(content: bytes) -> None:
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(content)
        file.flush()
        try:
            parsed("prepare", f"--config={file.name}")
        except InputError as error:
            assert str(error)


@given(st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
))  # fmt: skip
def test_any_settings_of_a_pairs_file_are_taken_or_one_sentence(value: Any) -> None:
    for name in ("dilate", "boxes", "segmenter", "max_side", "blend", "annotations"):
        try:
            arguments = parse(
                "preview", "", COMMANDS["preview"].groups, ["d", "--out", "o"],
                known=ALL_GROUPS, defaults={name: value},
            )  # fmt: skip
        except InputError as error:
            assert str(error)
        else:
            assert isinstance(arguments[PrepareSettings], PrepareSettings)


def test_pairs_give_their_settings_and_words_override_them() -> None:
    defaults = {"dilate": 0.1, "boxes": True, "annotations": None, "gone": 3}
    words = ["d", "--out", "o", "--dilate", "0.2"]
    arguments = parse(
        "preview", "", COMMANDS["preview"].groups, words, known=ALL_GROUPS, defaults=defaults
    )
    prepare = arguments[PrepareSettings]
    assert (prepare.dilate, prepare.boxes) == (0.2, True)


def test_all_that_is_wrong_is_said_together() -> None:
    said = message("train", "--lr", "x", "--epochs", "y", "--engine", "z")
    assert all(f"--{name} is" in said for name in ("lr", "epochs", "engine"))
    assert isinstance(parsed("train")[ReinforceSettings], ReinforceSettings)
