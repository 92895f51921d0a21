"""Which of our columns a name stands for: `train/loss`, `trainer/global_step`, `lr-AdamW`, `val_loss`."""

from __future__ import annotations

import re
from functools import lru_cache

from terrarium.doctor.readers.stage_names import stage_named

LONGEST_COLUMN = 200

# the first spelling that a file has is taken; case and separators are ignored, as are words like "train"
SPELLINGS = {
    "step": """global_step step steps iteration iter iterations iter_num step_num update updates num_updates
        n_updates optimizer_step opt_step n_iter it num_steps total_steps total_timesteps timesteps
        num_timesteps batch batch_idx""",
    "loss": """loss total_loss loss_total loss_train loss_step batch_loss step_loss loss_epoch epoch_loss
        avg_loss loss_avg mean_loss loss_mean running_loss smooth_loss lm_loss ce_loss cross_entropy
        cross_entropy_loss nll nll_loss objective cost box_loss value""",
    "runtime": """runtime elapsed elapsed_time time_elapsed elapsed_s elapsed_sec elapsed_seconds
        relative_time relative_time_process time_since_start wall_clock wallclock total_time seconds
        elapsed_minutes elapsed_hours""",
    "timestamp": """timestamp wall_time walltime datetime date_time unix_time logged_at created_at ts time
        date""",
    "learning_rate": """learning_rate_group_0 learning_rate lr lr_group_0 lr_pg0 lr_pg_0 lr_pg1 lr_0
        learning_rate_0 current_lr effective_lr lr_effective base_lr""",
    "validation_loss": "",  # every spelling of the loss, beside a word such as "val"
    "grad_norm": """grad_norm gradient_norm global_grad_norm global_gradient_norm total_grad_norm
        grad_norm_total grad_norm_global grad_norm_step gnorm norm_grad grads_norm gradients_norm grad_l2_norm
        grad_2_0_norm_total grad_norm_before_clip grad_norm_preclip grad_norm_unclipped
        unclipped_grad_norm""",
    "frames_per_second": """frames_per_second frames_per_sec fps time_fps samples_per_second samples_per_sec
        samples_sec images_per_second images_per_sec imgs_per_sec img_per_sec images_sec img_s
        examples_per_second examples_per_sec""",
    "tokens_per_second": """tokens_per_second tokens_per_sec tok_per_sec tok_per_s tokens_sec tok_sec
        tokens_s tok_s tokens_per_sec_per_gpu tps""",
    "steps_per_second": """steps_per_second steps_per_sec steps_sec it_per_sec it_per_s it_s its_per_sec
        iterations_per_second iterations_per_sec iter_per_sec iter_s batches_per_sec sps""",
    "action_entropy": """action_entropy actions_entropy entropy_action entropy_actions latent_action_entropy
        latent_actions_entropy code_entropy""",
    "unique_actions": """unique_actions num_unique_actions n_unique_actions actions_unique actions_used
        n_actions_used num_actions_used active_actions unique_latent_actions""",
    "codebook_usage": """codebook_usage codebook_utilization codebook_utilisation codebook_use code_usage
        code_utilization code_utilisation codes_usage vq_usage vq_codebook_usage active_codes_fraction
        codebook_active_fraction codebook_usage_percent codebook_usage_pct""",
    "codebook_perplexity": """codebook_perplexity vq_perplexity code_perplexity vq_codebook_perplexity
        quantizer_perplexity perplexity_codebook""",
    "accuracy": """accuracy acc token_accuracy mean_token_accuracy masked_accuracy masked_token_accuracy
        accuracy_train acc_train accuracy_step acc_step accuracy_epoch acc_epoch epoch_accuracy accuracy_top1
        top1 top1_accuracy categorical_accuracy sparse_categorical_accuracy binary_accuracy""",
    "device_use": """device_use system_gpu_0_gpu gpu_0_gpu gpu_0_utilization gpu_0_util gpu_utilization
        gpu_utilisation gpu_util gpu_usage gpu_load device_utilization""",
    "epoch": "epoch epochs current_epoch epoch_num",
}
"""Our name -> what others call it, the preferred spelling first; in order of importance."""

HELD_OUT = ("val", "valid", "validation", "eval", "evaluation", "dev", "heldout", "test")
FILLERS = frozenset(
    [
        "train",
        "training",
        "trainer",
        "metrics",
        "metric",
        "scalars",
        "perf",
        "optim",
        "optimizer",
        "stats",
        "monitor",
    ]
)

_INDEX = {
    spelling: (ours, place)
    for ours, spellings in SPELLINGS.items()
    for place, spelling in enumerate(spellings.split())
}
_SEPARATORS = re.compile(r"[\W_]+")
_LOOSE = (
    ("loss", re.compile(r"(?:.*_)?loss(?:_.*)?")),
    ("learning_rate", re.compile(r"(?:lr|learning_rate)_.*|.*_(?:lr|learning_rate)")),
)
_LAST_CHOICE = 1000


@lru_cache(maxsize=4096)
def normal(name: str) -> str:
    """`Train/Loss`, `train.loss` and `train-loss` are the same name; so is W&B's `run 7 - train/loss`."""
    return _SEPARATORS.sub("_", name.rpartition(" - ")[2].lower()).strip("_")


@lru_cache(maxsize=4096)
def recognise(name: str) -> tuple[str, int] | None:
    """Our name for a column and how good a spelling of it this is (0 the best), or None for a stranger."""
    if len(name) > LONGEST_COLUMN:
        return None
    prefix, separator, rest = name.partition("/")
    found = _recognise_words(normal(name).split("_"))
    if (found is None or found[1] >= _LAST_CHOICE) and separator and stage_named(prefix):
        found = _recognise_words(normal(rest).split("_")) or found
    if found and name.startswith("_") and found[0] == "step":
        return "step", _LAST_CHOICE  # W&B counts its own calls; a step that the trainer logs is the real one
    return found


def _recognise_words(words: list[str]) -> tuple[str, int] | None:
    held_out = next((place for place, word in enumerate(HELD_OUT) if word in words), None)
    core = [word for word in words if word not in HELD_OUT]
    while len(core) > 1 and core[0] in FILLERS:
        del core[0]
    found = _INDEX.get("_".join(core)) or _INDEX.get("_".join(words)) or _loosely("_".join(core))
    if held_out is None or found is None:
        return found
    return ("validation_loss", 100 * held_out + found[1]) if found[0] == "loss" else None


def _loosely(core: str) -> tuple[str, int] | None:
    fits = (ours for ours, pattern in _LOOSE if len(core) <= LONGEST_COLUMN and pattern.fullmatch(core))
    ours = next(fits, None)
    return (ours, _LAST_CHOICE) if ours else None


def importance(name: str) -> int:
    """Order in which columns are kept where a file holds more than can be kept: 0 first."""
    found = recognise(name.removesuffix("_text"))
    return list(SPELLINGS).index(found[0]) if found else len(SPELLINGS)
