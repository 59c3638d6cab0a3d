"""A stand-in for a noise-to-image-and-mask package: fitted to phantoms, no patient behind it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

LATENT, SIDE = 32, 64


class Generator(nn.Module):
    """A linear decoder of brains; the last three latents place and size the tumour."""

    def __init__(self):
        super().__init__()
        self.decode = nn.Linear(LATENT - 3, SIDE * SIDE)
        self.register_buffer("ranges", torch.zeros(3, 2))
        self.register_buffer("level", torch.zeros(()))

    def forward(self, z):
        brain = self.decode(z[:, :-3]).view(-1, SIDE, SIDE)
        share = torch.special.ndtr(z[:, -3:])
        share = torch.cat([(2 * share[:, :1] - 1).abs(), share[:, 1:]], 1)
        low, high = self.ranges.T
        across, y, radius = (low + share * (high - low)).T[..., None, None]
        x = across * torch.sign(z[:, -3])[:, None, None]  # in either hemisphere
        steps = torch.arange(0.5, SIDE) * 2 / SIDE - 1
        apart = ((steps - x) ** 2 + (steps[:, None] - y) ** 2).sqrt()
        cover = torch.sigmoid((radius - apart) * SIDE)
        image = (brain + cover * (self.level - brain)).clamp(0, 1)
        return image * 2 - 1, cover > 0.5


def generate(
    model_file, num_samples, output_path, save_images=True, input_latent_vector=None, **kwargs
):
    net = Generator()
    net.load_state_dict(torch.load(model_file, map_location="cpu"))
    net.eval()
    z = torch.randn(num_samples, LATENT) if input_latent_vector is None else input_latent_vector
    z = torch.as_tensor(z, dtype=torch.float32).reshape(-1, LATENT)[:num_samples]
    images, masks = net(z)
    images, masks = images.detach().numpy(), masks.numpy().astype(np.uint8) * 255
    if not save_images:
        return list(zip(images, masks, strict=True))
    folder = Path(output_path)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        Image.fromarray(np.uint8((image + 1) * 127.5 + 0.5)).save(folder / f"{number}_img.png")
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
