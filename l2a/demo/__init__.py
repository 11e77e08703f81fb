"""The generated data set on which every command runs without downloads."""

from pathlib import Path

from l2a.demo.generate import Recording, RenderedClip, generate_demo, render_clip, stage_recording

SETTINGS = Path(__file__).with_name("demo.yaml")
"""Settings of all commands, small enough for the generated videos and two cores."""

__all__ = [
    "SETTINGS",
    "Recording",
    "RenderedClip",
    "generate_demo",
    "render_clip",
    "stage_recording",
]
