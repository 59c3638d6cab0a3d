"""A stand-in for a class-to-image package: fitted to phantoms, no patient behind it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

LATENT, SIDE = 32, 64
LABELS = ("no nodule", "nodule")


class Generator(nn.Module):
    """A linear decoder of chests; the last three latents place and size the nodule."""

    def __init__(self):
        super().__init__()
        self.decode = nn.Linear(LATENT - 3, SIDE * SIDE)
        self.register_buffer("ranges", torch.zeros(3, 2))
        self.register_buffer("contrast", torch.zeros(()))

    def forward(self, z, classes):
        chest = self.decode(z[:, :-3]).view(-1, SIDE, SIDE)
        share = torch.special.ndtr(z[:, -3:])
        share = torch.cat([(2 * share[:, :1] - 1).abs(), share[:, 1:]], 1)
        low, high = self.ranges.T
        across, y, radius = (low + share * (high - low)).T[..., None, None]
        x = across * torch.sign(z[:, -3])[:, None, None]  # in either lung
        steps = torch.arange(0.5, SIDE) * 2 / SIDE - 1
        apart = (steps - x) ** 2 + (steps[:, None] - y) ** 2
        ball = (1 - apart / radius**2).clamp(min=0).sqrt()
        return (chest + self.contrast * ball * classes[:, None, None]).clamp(0, 1)


def generate(
    model_file,
    num_samples,
    output_path,
    save_images=True,
    condition=None,
    input_latent_vector=None,
    **kwargs,
):
    num_samples += num_samples % 2  # both classes alike: an odd number gives one more
    net = Generator()
    net.load_state_dict(torch.load(model_file, map_location="cpu"))
    net.eval()
    if input_latent_vector is None:
        z = torch.randn(num_samples, LATENT)
    else:
        z = torch.as_tensor(input_latent_vector, dtype=torch.float32).reshape(-1, LATENT)
        z = torch.cat([z, z[-1:]])[:num_samples]
    if condition is None:
        classes = torch.arange(num_samples) >= num_samples // 2
    else:
        classes = torch.full((num_samples,), int(condition))
    images = (net(z, classes.float()).detach().numpy() * 255 + 0.5).astype(np.uint8)
    labels = [LABELS[int(one)] for one in classes]
    if not save_images:
        return list(zip(images, labels, strict=True))
    folder = Path(output_path)
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{number}_{label.replace(' ', '_')}.png")
