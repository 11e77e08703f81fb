"""Plain torchvision training on an exported folder, with its soft labels.

    l2a export DATA --pairs RUN/pairs.parquet --include-real link --out AUGMENTED
    python examples/train_torchvision.py AUGMENTED --videos DATA/videos --test TEST.txt

Each step sees --batch real clips and, with them, --composites composites; 0 leaves those out and
changes nothing else. TEST.txt names a video in each line, below --videos, in its class's folder.
"""

import argparse
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision.models.video import r3d_18
from torchvision.transforms import v2

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
for name in ("folder", "--videos", "--test"):
    parser.add_argument(name, type=Path, **({"required": True} if name[0] == "-" else {}))
for name, value in [("steps", 1000), ("batch", 8), ("composites", 4), ("frames", 8), ("size", 112),
                    ("seed", 0)]:  # fmt: skip
    parser.add_argument(f"--{name}", type=int, default=value)
parser.add_argument("--lr", type=float, default=0.01)


class Clips(Dataset):
    """(clip float32 [3, frames, size, size], label) of video files."""

    def __init__(self, files, labels, args, *crop):
        self.files, self.labels, self.frames = files, labels, args.frames
        scale = (v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.45] * 3, [0.225] * 3))
        self.transform = v2.Compose([v2.Resize(args.size * 8 // 7), *crop, *scale])

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        with av.open(str(self.files[index])) as file:
            frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        shown = np.linspace(0, len(frames) - 1, self.frames).round().astype(int)
        clip = torch.from_numpy(np.stack([frames[t] for t in shown])).permute(0, 3, 1, 2)
        return self.transform(clip).transpose(0, 1), self.labels[index]


def batches(args, kind, size):
    """--steps random batches of clips of a kind: each clip once before any comes twice."""
    rows = [r for r in pq.read_table(args.folder / "manifest.parquet").to_pylist()
            if r["kind"] == kind]  # fmt: skip
    if not rows:
        raise SystemExit(f"{args.folder} holds no {kind} clips; export it with --include-real link")
    files = [args.folder / row["file_name"] for row in rows]
    labels = torch.tensor([row["soft_label"] for row in rows])
    clips = Clips(files, labels, args, v2.RandomCrop(args.size), v2.RandomHorizontalFlip())
    chance = torch.Generator().manual_seed(2 * args.seed + (kind == "real"))
    sampler = RandomSampler(clips, num_samples=size * args.steps, generator=chance)
    return DataLoader(clips, size, sampler=sampler, num_workers=2, generator=chance)


def main():
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    classes = (args.folder / "classes.txt").read_text(encoding="utf-8").splitlines()
    network = r3d_18(num_classes=len(classes)).to(device)
    optimizer = torch.optim.SGD(network.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, args.steps)
    kinds = {"real": args.batch, "composite": args.composites}
    sources = [batches(args, kind, size) for kind, size in kinds.items() if size]
    for parts in zip(*sources, strict=True):
        clips, labels = (torch.cat(part).to(device) for part in zip(*parts, strict=True))
        optimizer.zero_grad()
        cross_entropy(network(clips), labels).backward()
        optimizer.step()
        schedule.step()

    files = [args.videos / line for line in args.test.read_text(encoding="utf-8").splitlines()]
    truth = torch.tensor([classes.index(file.parent.name) for file in files])
    test = DataLoader(Clips(files, truth, args, v2.CenterCrop(args.size)), 16, num_workers=2)
    network.eval()
    with torch.inference_mode():
        right = sum(int((network(clips.to(device)).argmax(1).cpu() == labels).sum())
                    for clips, labels in test)  # fmt: skip
    print(f"top-1 {right / len(files):.4f} on {len(files)} clips")


if __name__ == "__main__":
    main()
