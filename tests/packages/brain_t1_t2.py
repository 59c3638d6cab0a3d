"""A stand-in for an image-to-image package: fitted to phantoms, no patient behind it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

SIDE = 64
FEATURES = 14


class Translator(nn.Module):
    """One convolution over hinges of the intensity, alone and times the place in the head."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(FEATURES, 1, 5, padding=2)

    def features(self, image):
        hinges = [(image - knot).clamp(min=0) for knot in (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)]
        steps = torch.linspace(-1, 1, image.shape[-1], device=image.device)
        place = (steps**2 + steps[:, None] ** 2).expand_as(image)
        return torch.cat([*hinges, *[hinge * place for hinge in hinges], place, place**2], 1)

    def forward(self, image):
        return self.mix(self.features(image)).clamp(0, 1)


def generate(
    model_file,
    num_samples,
    output_path,
    save_images=True,
    input_path="models/90004_T1_TO_T2_PHANTOM_BRAIN/images",
    T1_to_T2=True,
    gpu_id=0,
    translate_all_images=False,
    **kwargs,
):
    device = torch.device(f"cuda:{gpu_id}" if torch.cuda.is_available() else "cpu")
    source = Path(input_path)
    paths = sorted(p for p in source.iterdir() if p.is_file()) if source.is_dir() else [source]
    made = []
    for path in paths if translate_all_images else paths[:num_samples]:
        net = Translator()
        states = torch.load(model_file, map_location="cpu")
        net.load_state_dict(states["T1_to_T2" if T1_to_T2 else "T2_to_T1"])
        net.to(device).eval()
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("L").resize((SIDE, SIDE)), np.float32) / 255
        image = net(torch.from_numpy(pixels)[None, None].to(device))[0, 0]
        made.append((image.detach().cpu().numpy() * 255 + 0.5).astype(np.uint8))
    if not save_images:
        return made
    folder = Path(output_path)
    folder.mkdir(parents=True, exist_ok=True)
    for path, image in zip(paths, made, strict=False):
        Image.fromarray(image).save(folder / f"{path.stem}.png")
