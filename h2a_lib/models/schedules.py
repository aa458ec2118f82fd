"""Optimisers and schedules of the learning rate, by name, every one with every other."""

from dataclasses import dataclass
from typing import Any

from torch import nn, optim
from torch.optim import lr_scheduler

from h2a_lib.study import config as study


def build_optimizer(
    config: study.Optimizer, network: nn.Module, lr: float, weight_decay: float
) -> optim.Optimizer:
    """Build an optimiser over all parameters of a network; AdamW's weight decay is decoupled."""
    parameters = network.parameters()
    options: dict[str, Any] = {"lr": lr, "weight_decay": weight_decay, "fused": True}
    match config:
        case study.SGD(momentum=momentum):
            # Torch refuses Nesterov's step where there is no momentum to look ahead with.
            nesterov = config.nesterov and momentum > 0
            return optim.SGD(parameters, momentum=momentum, nesterov=nesterov, **options)
        case study.Adam():
            return optim.Adam(parameters, **options)
        case study.AdamW():
            return optim.AdamW(parameters, **options)


@dataclass
class LearningRate:
    """A schedule that knows when it moves: after each step, each epoch, or on a plateau."""

    scheduler: lr_scheduler.LRScheduler
    every_step: bool

    def after_step(self) -> None:
        """Advance by one batch."""
        if self.every_step:
            self.scheduler.step()

    def after_epoch(self, validation_error: float) -> None:
        """Tell that an epoch has ended, with its validation error (lower is better)."""
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(validation_error)
        elif not self.every_step:
            self.scheduler.step()


def build_schedule(
    config: study.Schedule, optimizer: optim.Optimizer, epochs: int, steps_per_epoch: int
) -> LearningRate:
    """Build a schedule that starts from the optimiser's present rate as the highest it reaches.

    Schedules given in epochs but moving every step are scaled by `steps_per_epoch`.
    """
    lr, n_steps = optimizer.param_groups[0]["lr"], epochs * steps_per_epoch
    every_step = isinstance(config, study.Cyclic | study.OneCycle | study.Cosine)
    scheduler: lr_scheduler.LRScheduler
    match config:
        case study.Constant():
            scheduler = lr_scheduler.ConstantLR(optimizer, factor=1.0)
        case study.Step(step_size=size, gamma=gamma):
            scheduler = lr_scheduler.StepLR(optimizer, size, gamma)
        case study.Exponential(gamma=gamma):
            scheduler = lr_scheduler.ExponentialLR(optimizer, gamma)
        case study.Plateau(factor=factor, patience=patience):
            scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
        case study.Cyclic():
            scheduler = lr_scheduler.CyclicLR(
                optimizer,
                base_lr=lr / config.ratio,
                max_lr=lr,
                step_size_up=max(1, round(config.step_size * steps_per_epoch)),
                mode=config.mode,
                gamma=config.gamma ** (1 / steps_per_epoch),
                # Cycling momentum raises with Adam (pytorch #73910); only the rate varies here.
                cycle_momentum=False,
            )
        case study.OneCycle():
            scheduler = lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=lr,
                total_steps=n_steps,
                pct_start=config.pct_start,
                div_factor=config.div_factor,
                final_div_factor=config.final_div_factor,
                cycle_momentum=False,
            )
        case study.Cosine():
            scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=n_steps)
    return LearningRate(scheduler, every_step)
