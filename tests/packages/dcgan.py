"""A DCGAN of 128 pixels with random weights, in medigan's form: for measuring speed only."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn


class Generator(nn.Module):
    """Radford et al. 2015, one stage more for 128 pixels."""

    def __init__(self, nz=100, width=64):
        super().__init__()
        stages = [nn.ConvTranspose2d(nz, width * 16, 4, 1, 0, bias=False)]
        for factor in (16, 8, 4, 2):
            stages += [nn.BatchNorm2d(width * factor), nn.ReLU(True)]
            stages += [nn.ConvTranspose2d(width * factor, width * factor // 2, 4, 2, 1, bias=False)]
        stages += [nn.BatchNorm2d(width), nn.ReLU(True)]
        stages += [nn.ConvTranspose2d(width, 1, 4, 2, 1, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*stages)

    def forward(self, z):
        return self.main(z)


def generate(
    model_file, num_samples, output_path, save_images=True, input_latent_vector=None, **kwargs
):
    network = Generator()
    network.load_state_dict(torch.load(model_file, map_location="cpu"))
    network.eval()
    z = input_latent_vector
    if z is None:
        z = torch.randn(num_samples, 100, 1, 1)
    made = ((network(z).detach().numpy() + 1) * 127.5).astype(np.uint8)
    images = [image[0][..., None] for image in made]
    if not save_images:
        return images
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(Path(output_path) / f"{number}.png")
    return None
