"""Latent actions: a few codes that say what changed between two frames, learnt without labels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from terrarium.config import LatentActionsConfig
from terrarium.models.blocks import ConditionedConv
from terrarium.models.frames import pool_frames
from terrarium.models.quantizer import BinaryQuantizer
from terrarium.models.share import add_up, rand
from terrarium.models.step_result import StepResult

CONDITION = 64  # width of the embedded action
MIN_LOG_VARIANCE = -8.0  # a standard deviation of about 5 of 255 levels
STAY = 3.0  # bias of the zero displacement: the decoder starts by copying the last frame


class LatentActions(nn.Module):
    """Encodes a pair of frames into a code, with which a decoder that sees the past must predict the second.

    It works on pooled frames, because an action moves more than single pixels. Motion is made easy to see and
    easy to draw: the encoder gets the error of every displacement of the earlier frame (a cost volume,
    Dosovitskiy et al. 2015, FlowNet, section 3), and the decoder moves the earlier frame by mixtures of
    displacements that differ from place to place (Finn et al. 2016, "dynamic neural advection", section 3.1)
    before it adds a residual. Without these, codes tell how much moves but not where to (docs/log.md).

    The decoder sees past changes, so that what moves by itself need not be encoded. They are hidden half of
    the time, so that a code must also mean something without them.
    """

    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = _Encoder(config)
        self.quantizer = BinaryQuantizer(config.bits, config.soft_share)
        self.decoder = _Decoder(config)

    @property
    def codes(self) -> int:
        """How many codes there are."""
        return int(2**self.config.bits)

    def pool(self, video_BTCHW: Tensor) -> Tensor:
        """Pool clips in [0, 1] to the size that the model works at."""
        pooled = pool_frames(video_BTCHW.flatten(0, 1), self.config.motion_size)
        return _as_clips(pooled, video_BTCHW.shape[0])

    def encode(self, video_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (B, T, 3, H, W) in [0, 1] to signs (B, T - 1, A) and codes (B, T - 1), int64.

        The code at t describes the change from frame t to t + 1, and depends on no other frame.
        """
        small = self.pool(video_BTCHW)
        pairs = small[:, :-1].flatten(0, 1), small[:, 1:].flatten(0, 1)
        signs_NA, codes_N = self.quantizer(self.encoder(*pairs))
        batch = video_BTCHW.shape[0]
        return _as_clips(signs_NA, batch), _as_clips(codes_N, batch)

    def predict(self, video_BTCHW: Tensor, signs_BTA: Tensor) -> Tensor:
        """Pooled next frames (B, T', 3, h, w) from clips of T and signs of T - 1 changes.

        The first `past_frames` changes serve only as the past, so T' = T - 1 - past_frames.
        """
        return self._predict(self.pool(video_BTCHW), signs_BTA)[0]

    def forward(self, video_BTCHW: Tensor) -> StepResult:
        """Encode and predict clips (B, T, 3, H, W) in [0, 1].

        The loss is the negative log-likelihood of the next frame under a normal distribution whose variance
        the decoder predicts for each pixel (Kendall and Gal 2017, section 3.1), up to a constant, weighted
        towards what moves. So unpredictable noise (a flickering texture) counts little, and a small shift of
        an edge, which an action explains, counts much.
        """
        signs_BTA, codes_BT = self.encode(video_BTCHW)
        small = self.pool(video_BTCHW)
        predicted, log_variance = self._predict(small, signs_BTA)
        loss = likelihood_loss(small, predicted, log_variance).mean()
        error = self.error(video_BTCHW, predicted).mean().detach()
        return StepResult(loss, {"squared_error": error, **_code_use(codes_BT, self.codes)})

    def error(self, video_BTCHW: Tensor, predicted: Tensor) -> Tensor:
        """100 x squared error of pooled pixels, 0..1, weighted towards motion, per clip and step (B, T')."""
        small = self.pool(video_BTCHW)
        squared = (predicted - small[:, -predicted.shape[1] :]) ** 2
        error_BT: Tensor = 100 * (_motion_weight(small, predicted.shape[1]) * squared).mean((2, 3, 4))
        return error_BT

    def _predict(self, small: Tensor, signs_BTA: Tensor) -> tuple[Tensor, Tensor]:
        """Means (B, T', 3, h, w) and logarithms of variances (B, T', 1, h, w) from pooled clips."""
        past, batch = self.config.past_frames, small.shape[0]
        changes = small[:, 1:] - small[:, :-1]
        count = small.shape[1] - 1 - past
        last = small[:, past:-1].flatten(0, 1)
        # changes[:, past - 1 - k : ...] is the change k steps before the one that is to be predicted
        earlier = [changes[:, past - 1 - k : past - 1 - k + count].flatten(0, 1) for k in range(past)]
        mean, log_variance = self.decoder(last, earlier, signs_BTA[:, past:].flatten(0, 1))
        return _as_clips(mean, batch), _as_clips(log_variance, batch)


def likelihood_loss(small: Tensor, predicted: Tensor, log_variance: Tensor) -> Tensor:
    """Negative log-likelihood (B, T'), weighted towards what moves; nats per pixel up to a constant.

    Args:
        small: pooled clips (B, T, 3, h, w), of which the last T' frames are predicted.
        predicted: means (B, T', 3, h, w).
        log_variance: (B, T', 1, h, w); clamped to what 8-bit footage can have.
    """
    squared = ((predicted - small[:, -predicted.shape[1] :]) ** 2).mean(2, keepdim=True)
    log_variance = log_variance.clamp(MIN_LOG_VARIANCE, 0)
    nats = 0.5 * (squared / log_variance.exp() + log_variance)
    loss_BT: Tensor = (_motion_weight(small, predicted.shape[1]) * nats).mean((2, 3, 4))
    return loss_BT


class _Encoder(nn.Module):
    """Two pooled frames (N, 3, h, w) in [0, 1] to features (N, A)."""

    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__()
        self.radius, width = config.radius, config.width
        displacements = (2 * config.radius + 1) ** 2
        self.layers = nn.Sequential(
            nn.Conv2d(displacements + 6, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 4, stride=2, padding=1),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * width, 128),
            nn.SiLU(),
            nn.Linear(128, config.bits),
        )

    def forward(self, before_NCHW: Tensor, after_NCHW: Tensor) -> Tensor:
        costs = _cost_volume(before_NCHW, after_NCHW, self.radius)
        change = 4 * (after_NCHW - before_NCHW)
        features_NA: Tensor = self.layers(torch.cat([costs, before_NCHW - 0.5, change], 1))
        return features_NA


class _Decoder(nn.Module):
    """From the last pooled frame, past changes and signs to the next frame.

    It gives that frame (N, 3, h, w), and the logarithm of each pixel's variance (N, 1, h, w).
    """

    def __init__(self, config: LatentActionsConfig) -> None:
        super().__init__()
        self.radius, self.past_dropout = config.radius, config.past_dropout
        self.displacements = (2 * config.radius + 1) ** 2
        width, wide = config.width, 2 * config.width
        self.embed = nn.Sequential(nn.Linear(config.bits, CONDITION), nn.SiLU())
        self.stem = nn.Conv2d(3 * (1 + config.past_frames), width, 4, stride=2, padding=1)
        self.down = nn.Conv2d(width, wide, 4, stride=2, padding=1)
        self.low = nn.ModuleList(ConditionedConv(wide, wide, CONDITION) for _ in range(2))
        self.high = ConditionedConv(wide + width, wide, CONDITION)
        self.motion = nn.Conv2d(wide, self.displacements, 1)
        self.global_motion = nn.Linear(CONDITION, self.displacements)
        self.residual = nn.Conv2d(wide, 16, 1)  # for each 2x2 block: 3 colours and a variance
        for layer in (self.motion, self.global_motion, self.residual):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.global_motion.bias[self.displacements // 2] = STAY
            self.residual.bias[12:] = MIN_LOG_VARIANCE / 2  # type: ignore[index]

    def forward(self, last_NCHW: Tensor, changes: list[Tensor], signs_NA: Tensor) -> tuple[Tensor, Tensor]:
        condition_NE = self.embed(signs_NA)
        stem = F.silu(self.stem(torch.cat([last_NCHW - 0.5, *self._maybe_hidden(changes)], 1)))
        low = F.silu(self.down(stem))
        for block in self.low:
            low = block(low, condition_NE)
        up = F.interpolate(low, size=stem.shape[-2:])
        high = self.high(torch.cat([up, stem], 1), condition_NE)
        logits = self.motion(high) + self.global_motion(condition_NE)[:, :, None, None]
        moved = _move(last_NCHW, torch.softmax(logits, 1), self.radius)
        residual = F.pixel_shuffle(self.residual(high), 2)
        return moved + residual[:, :3], residual[:, 3:]

    def _maybe_hidden(self, changes: list[Tensor]) -> list[Tensor]:
        if not (self.training and self.past_dropout):
            return [4 * change for change in changes]
        return [4 * change * keep for change, keep in zip(changes, self._keep(changes), strict=True)]

    def _keep(self, changes: list[Tensor]) -> list[Tensor]:
        if not changes:
            return []
        first = changes[0]
        keep_N111 = (rand((len(first), 1, 1, 1), first.device) >= self.past_dropout).float()
        return [keep_N111] * len(changes)


def _as_clips(x: Tensor, batch: int) -> Tensor:
    """(B * T, ...) to (B, T, ...)."""
    return x.view(batch, -1, *x.shape[1:])


def _shifted(x_NCHW: Tensor, radius: int) -> Tensor:
    """Every displacement of up to `radius` pixels each way: (N, displacements, C, H, W)."""
    height, width = x_NCHW.shape[-2:]
    padded = F.pad(x_NCHW, (radius,) * 4, mode="replicate")
    span = range(2 * radius + 1)
    return torch.stack([padded[..., i : i + height, j : j + width] for i in span for j in span], 1)


def _cost_volume(before_NCHW: Tensor, after_NCHW: Tensor, radius: int) -> Tensor:
    """How badly each displacement of the earlier grey frame explains the later one (N, displacements, H, W).

    Logarithmic and centred, so that bright and dark footage look alike.
    """
    before, after = before_NCHW.mean(1, keepdim=True), after_NCHW.mean(1, keepdim=True)
    error = (_shifted(before, radius)[:, :, 0] - after).abs()
    logs = torch.log(error + 0.01)
    return logs - logs.mean(1, keepdim=True)


def _move(frame_NCHW: Tensor, mixture_NKhw: Tensor, radius: int) -> Tensor:
    """Mix displaced copies of a frame; each 2x2 block of pixels shares one mixture."""
    shifted = _shifted(frame_NCHW, radius)
    blocks = shifted.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))  # N, K, C, h, 2, w, 2
    moved: Tensor = (blocks * mixture_NKhw[:, :, None, :, None, :, None]).sum(1)
    return moved.flatten(-2).flatten(-3, -2)


def _motion_weight(small: Tensor, count: int) -> Tensor:
    """Per pixel of the last `count` frames (B, count, 1, h, w): 0.2 where nothing moves, 1 on average."""
    change = (small[:, -count:] - small[:, -count - 1 : -1]).abs().mean(2).flatten(0, 1)[:, None]
    blurred = F.avg_pool2d(change, 5, 1, 2)
    weight = 0.2 + blurred / (blurred.mean((1, 2, 3), keepdim=True) + 0.02)
    return _as_clips(weight, small.shape[0])


def _code_use(codes_BT: Tensor, codes: int) -> dict[str, Tensor]:
    """Entropy of the codes of a batch in nats, how many occur, and their share of all."""
    counts = add_up(torch.bincount(codes_BT.flatten(), minlength=codes))
    shares = counts / counts.sum()
    unique = (shares > 0).sum().float()
    return {
        "action_entropy": torch.special.entr(shares).sum(),
        "unique_actions": unique,
        "codebook_usage": unique / codes,
    }
