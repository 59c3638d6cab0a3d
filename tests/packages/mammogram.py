"""A stand-in for a noise-to-image package: fitted to phantoms, no patient behind it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

LATENT, SIDE = 32, 64


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.decode = nn.Linear(LATENT, SIDE * SIDE)

    def forward(self, z):
        return self.decode(z).clamp(0, 1).view(-1, SIDE, SIDE, 1)


def generate(
    model_file, num_samples, output_path, save_images=True, input_latent_vector=None, **kwargs
):
    net = Generator()
    net.load_state_dict(torch.load(model_file, map_location="cpu"))
    net.eval()
    z = torch.randn(num_samples, LATENT) if input_latent_vector is None else input_latent_vector
    z = torch.as_tensor(z, dtype=torch.float32).reshape(-1, LATENT)[:num_samples]
    images = (net(z).detach().numpy() * 255 + 0.5).astype(np.uint8)
    if not save_images:
        return list(images)
    folder = Path(output_path)
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
