"""The names that trainers commonly use for what `Plan` holds."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KEYS = {
    "steps": _words(
        """n_updates num_updates max_updates total_updates max_steps total_steps train_steps max_train_steps
        num_train_steps num_training_steps total_training_steps training_steps num_steps max_iters
        train_iters num_iterations total_iterations max_iterations iterations steps"""
    ),
    "learning_rate": _words(
        "max_lr peak_lr max_learning_rate peak_learning_rate learning_rate lr base_lr initial_lr"
    ),
    "schedule": _words("lr_scheduler_type lr_schedule lr_scheduler scheduler_type scheduler schedule sched"),
    "schedule_steps": _words("lr_decay_steps lr_decay_iters decay_steps schedule_steps t_max"),
    "warmup_steps": _words(
        """warmup_steps num_warmup_steps lr_warmup_steps warmup_iters lr_warmup_iters warmup_updates warmup"""
    ),
    "gradient_accumulation_steps": _words(
        """gradient_accumulation_steps grad_accum_steps accumulate_grad_batches accumulation_steps
        gradient_accumulation grad_accumulation_steps grad_accum grad_acc_steps"""
    ),
    "codes": _words(
        """codebook_size vocab_size num_codes n_codes num_latents num_embeddings n_embeddings n_embed
        num_patch_latents"""
    ),
    "actions": _words("n_actions num_actions num_latent_actions n_latent_actions"),
    "several_writers": _words("world_size nproc num_processes nproc_per_node num_gpus n_gpus devices"),
}
"""Field of `Plan` -> the keys that say it, the surest first."""

WARMUP_SHARES = ("warmup_ratio", "warmup_fraction", "pct_start", "warmup")
LEVELS = ("fsq_levels", "levels")
SCHEDULES = ("onecycle", "cosine", "linear", "constant", "wsd", "exponential", "plateau")

BORROWED = {"dynamics": {"codes": "video_tokenizer", "actions": "latent_actions"}}
"""Stage -> field -> the stage whose section says it where its own does not."""
