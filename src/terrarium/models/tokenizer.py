"""The video tokenizer: frames to a small grid of tokens and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from terrarium.config import VideoTokenizerConfig
from terrarium.models.blocks import ConvBlock
from terrarium.models.quantizer import FiniteScalarQuantizer
from terrarium.models.share import add_up
from terrarium.models.step_result import StepResult

STRIDE = 8


class VideoTokenizer(nn.Module):
    """A convolutional autoencoder of single frames, with a finite scalar quantizer in the middle.

    Convolutions with a total stride of 8 are far cheaper on a CPU than attention over small patches, and the
    decoder gets more capacity than the encoder (docs/log.md).

    Args:
        config: sizes.
        height: of the frames in pixels, a multiple of 8.
        width: of the frames in pixels, a multiple of 8.
    """

    def __init__(self, config: VideoTokenizerConfig, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        self.rows, self.columns = height // STRIDE, width // STRIDE
        self.motion_weight = config.motion_weight
        self.quantizer = FiniteScalarQuantizer(config.levels)
        dimensions = len(config.levels)
        self.encoder = _encoder(config.width, dimensions)
        self.decoder = _decoder(config.decoder_width, dimensions)

    def encode(self, frames_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (N, 3, H, W) in [0, 1] to vectors (N, P, D) in [-1, 1] and digits (N, P, D)."""
        latents_NDHW = self.encoder(frames_NCHW * 2 - 1)
        vectors_NPD, digits_NPD = self.quantizer(latents_NDHW.flatten(2).transpose(1, 2))
        return vectors_NPD, digits_NPD

    def decode(self, vectors_NPD: Tensor) -> Tensor:
        """Vectors (N, P, D) to frames (N, 3, H, W), about 0 to 1, not clamped."""
        grid_NDHW = vectors_NPD.transpose(1, 2).unflatten(2, (self.rows, self.columns))
        frames_NCHW: Tensor = self.decoder(grid_NDHW)
        return (frames_NCHW + 1) / 2

    def forward(self, video_BTCHW: Tensor) -> StepResult:
        """Reconstruct clips (B, T, 3, H, W) in [0, 1].

        The loss is the mean squared error over pixels, weighted towards those that move within the clip: a
        ball of two pixels is a thousandth of a frame, and plain squared error ignores it.
        """
        frames_NCHW = video_BTCHW.flatten(0, 1)
        vectors_NPD, digits_NPD = self.encode(frames_NCHW)
        error_NCHW = (self.decode(vectors_NPD) - frames_NCHW) ** 2
        loss = (error_NCHW * self.pixel_weight(video_BTCHW)).mean()
        with torch.no_grad():
            psnr = -10 * torch.log10(error_NCHW.mean((1, 2, 3)) + 1e-8).mean()
            # values that are not finite give impossible digits; the loss reports those, not this measure
            tokens = self.quantizer.to_tokens(digits_NPD).flatten().clamp(0, self.quantizer.codes - 1)
            counts = add_up(torch.bincount(tokens, minlength=self.quantizer.codes))
            usage = (counts > 0).float().mean()
        return StepResult(loss, {"psnr": psnr, "codebook_usage": usage})

    def pixel_weight(self, video_BTCHW: Tensor) -> Tensor:
        """Per pixel (N, 1, H, W), at least 1: 1 + motion_weight where all motion of the clip is."""
        if not self.motion_weight or video_BTCHW.shape[1] < 2:
            return torch.ones((), device=video_BTCHW.device)
        change_BTHW = (video_BTCHW - video_BTCHW.mean(1, keepdim=True)).abs().mean(2)
        share_BTHW = change_BTHW / (change_BTHW.mean((1, 2, 3), keepdim=True) + 0.01)
        return (1 + self.motion_weight * share_BTHW.clamp(max=4) / 4).flatten(0, 1)[:, None]


def _encoder(width: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 4, stride=2, padding=1),
        nn.SiLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        ConvBlock(2 * width),
        nn.Conv2d(2 * width, 4 * width, 4, stride=2, padding=1),
        ConvBlock(4 * width),
        nn.GroupNorm(8, 4 * width),
        nn.SiLU(),
        nn.Conv2d(4 * width, dimensions, 1),
    )


def _decoder(width: int, dimensions: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(dimensions, 4 * width, 3, padding=1),
        ConvBlock(4 * width),
        _upsample(4 * width, 2 * width),
        ConvBlock(2 * width),
        _upsample(2 * width, width),
        nn.GroupNorm(8, width),
        nn.SiLU(),
        nn.Conv2d(width, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )


def _upsample(inputs: int, outputs: int) -> nn.Sequential:
    """Twice the height and width; a 1x1 convolution before the shuffle keeps it cheap."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2))
