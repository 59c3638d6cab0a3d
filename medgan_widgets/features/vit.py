"""The network of DINOv2 (Oquab 2023): a vision transformer, layers named as its weights are."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PATCH, WIDTH, HEADS, DEPTH, TRAINED = 14, 384, 6, 12, 37  # ViT-S/14, trained on 37 x 37 patches


class Attention(nn.Module):
    """Every patch looks at every other, in several heads."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors of the same places."""
        count, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(count, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(seen.transpose(1, 2).reshape(count, length, WIDTH))
        return out


class Mlp(nn.Module):
    """Two layers on each patch by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors of the same places."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Scale(nn.Module):
    """A learned factor for each channel (Touvron 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors of the same places."""
        return x * self.gamma


class Block(nn.Module):
    """Attention, then the two layers, each beside a straight path."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn, self.ls1 = nn.LayerNorm(WIDTH, 1e-6), Attention(), Scale()
        self.norm2, self.mlp, self.ls2 = nn.LayerNorm(WIDTH, 1e-6), Mlp(), Scale()

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors of the same places."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class PatchEmbed(nn.Module):
    """Patches of 14 pixels to vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        """Return vectors of the same places."""
        out: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return out


class VisionTransformer(nn.Module):
    """Images [N, 3, H, W], sides a multiple of 14, to the class token, [N, 384]."""

    def __init__(self) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.mask_token = nn.Parameter(torch.zeros(1, WIDTH))  # of the training; here unused
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + TRAINED**2, WIDTH))
        self.patch_embed = PatchEmbed()
        self.blocks = nn.ModuleList(Block() for _ in range(DEPTH))
        self.norm = nn.LayerNorm(WIDTH, 1e-6)

    def forward(self, images: Tensor) -> Tensor:
        """Return the class token after the last norm."""
        height, width = images.shape[2] // PATCH, images.shape[3] // PATCH
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + self._places(height, width)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)[:, 0]
        return out

    def _places(self, height: int, width: int) -> Tensor:
        """Return the embedding of places for another grid: bicubic, as the authors do it."""
        if (height, width) == (TRAINED, TRAINED):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].reshape(1, TRAINED, TRAINED, WIDTH).permute(0, 3, 1, 2)
        # The tenth of a patch is theirs: without it rounding loses a row for some sizes.
        factors = ((height + 0.1) / TRAINED, (width + 0.1) / TRAINED)
        grid = F.interpolate(grid, scale_factor=factors, mode="bicubic")
        places = grid.permute(0, 2, 3, 1).reshape(1, height * width, WIDTH)
        return torch.cat([self.pos_embed[:, :1], places], dim=1)
