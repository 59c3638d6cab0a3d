"""One training on several processes: each draws for all and keeps its own rows.

Started by torch's own launcher (``torchrun --nproc-per-node 2 -m medgan_widgets.training
RUN_DIR``). The numbers are those of one process with the same batch, up to
rounding: random draws are made for the whole batch everywhere, gradients and
the statistics of batch norm are means over all processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

GROUP = 4  # images whose difference the discriminator looks at together


class Ranks:
    """Which of how many processes this one is."""

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.own = int(os.environ.get("RANK", "0")) if self.count > 1 else 0
        self.local = int(os.environ.get("LOCAL_RANK", "0")) if self.count > 1 else 0
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.own == 0

    def rows(self, batch: int) -> Tensor:
        """Return which rows of a batch are this process's own, groups kept whole."""
        places = torch.arange(batch)
        if self.count == 1:
            return places
        each = batch // GROUP // self.count
        mine = places.view(GROUP, -1)[:, self.own * each : (self.own + 1) * each]
        return mine.reshape(-1)

    def mean(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by their mean over all processes, as one message."""
        if self.count == 1:
            return
        parts = list(tensors)
        flat = torch.cat([part.detach().reshape(-1) for part in parts])
        dist.all_reduce(flat)
        flat /= self.count
        for part, mean in zip(
            parts, torch.split(flat, [part.numel() for part in parts]), strict=True
        ):
            part.copy_(mean.view_as(part))

    def told(self, value: Any) -> Any:
        """Return what the first process says."""
        if self.count == 1:
            return value
        said = [value]
        dist.broadcast_object_list(said)
        return said[0]

    def close(self) -> None:
        """Leave the others."""
        if self.count > 1 and dist.is_initialized():
            dist.destroy_process_group()


class Draws:
    """Random numbers for a batch: drawn for all of it, given out for one's own rows.

    Examples
    --------
    >>> Draws(4, seed=1).normal(3).shape
    torch.Size([4, 3])
    """

    def __init__(
        self, batch: int, *, seed: int, device: str = "cpu", ranks: Ranks | None = None
    ) -> None:
        self.batch, self.device = batch, device
        self.rows = None if ranks is None or ranks.count == 1 else ranks.rows(batch).to(device)
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Return normal numbers [own rows, *shape]."""
        return self._own(
            torch.randn(self.batch, *shape, generator=self.generator, device=self.device)
        )

    def uniform(self, low: float, high: float) -> Tensor:
        """Return numbers from low to high, [own rows]."""
        drawn = torch.rand(self.batch, generator=self.generator, device=self.device)
        return self._own(drawn * (high - low) + low)

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn if self.rows is None else drawn[self.rows]


class _Total(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are those of all processes' images together."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised, [N, C, H, W]."""
        if not self.training:
            return super().forward(x)
        world = dist.get_world_size()
        exact = x.float()
        both = torch.cat([exact.mean(dim=(0, 2, 3)), exact.square().mean(dim=(0, 2, 3))])
        mean, square = (_Total.apply(both) / world).chunk(2)
        spread = square - mean.square()
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        count = x.numel() // x.shape[1] * world
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(spread * (count / (count - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(spread + self.eps)
        normalised: Tensor = exact * scale[:, None, None]
        shifted: Tensor = normalised + (self.bias - mean * scale)[:, None, None]
        return shifted.to(x.dtype)


def share_norms(network: nn.Module) -> None:
    """Replace a network's batch norms by shared ones; weights and names stay."""
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = SharedBatchNorm(child.num_features, child.eps, child.momentum or 0.1)
            norm.load_state_dict(child.state_dict())
            norm.weight, norm.bias = child.weight, child.bias
            setattr(network, name, norm)
        else:
            share_norms(child)
