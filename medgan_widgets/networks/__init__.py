"""Architectures, one a file: torch only, no files, no engine.

A generator is called with latents ``z`` [N, z_dim], one-hot classes ``y``
[N, classes] and a list of noise maps, one for each of ``noise_shapes``, and
returns images in -1 … 1, [N, C, H, W]. ``for_inference()`` returns it ready to
generate: batch norm folded into the convolutions, weights laid out once.
"""

from medgan_widgets.networks import dcgan, residual, stylegan2

Generator = residual.Generator | stylegan2.Generator | dcgan.Generator
Discriminator = residual.Discriminator | dcgan.Discriminator
GENERATORS: dict[str, type[Generator]] = {
    "residual": residual.Generator,
    "stylegan2": stylegan2.Generator,
    "dcgan": dcgan.Generator,
}
DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "residual": residual.Discriminator,
    "stylegan2": stylegan2.Discriminator,
    "dcgan": dcgan.Discriminator,
}

__all__ = ["DISCRIMINATORS", "GENERATORS", "Discriminator", "Generator"]
