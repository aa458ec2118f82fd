"""Optimisers and schedules of the learning rate, by name, every one with every other."""

from dataclasses import dataclass

from torch import nn, optim
from torch.optim import lr_scheduler

from h2a_lib.study import config as study


def build_optimizer(
    config: study.Optimizer, network: nn.Module, lr: float, weight_decay: float
) -> optim.Optimizer:
    """Build an optimiser over all parameters of a network; AdamW's weight decay is decoupled."""
    parameters = network.parameters()
    match config:
        case study.SGD():
            return optim.SGD(
                parameters,
                lr=lr,
                weight_decay=weight_decay,
                momentum=config.momentum,
                # Torch refuses Nesterov's step where there is no momentum to look ahead with.
                nesterov=config.nesterov and config.momentum > 0,
                fused=True,
            )
        case study.Adam():
            return optim.Adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
        case study.AdamW():
            return optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=True)


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
    lr = optimizer.param_groups[0]["lr"]
    match config:
        case study.Constant():
            return LearningRate(lr_scheduler.ConstantLR(optimizer, factor=1.0), False)
        case study.Step():
            step = lr_scheduler.StepLR(optimizer, config.step_size, config.gamma)
            return LearningRate(step, False)
        case study.Exponential():
            return LearningRate(lr_scheduler.ExponentialLR(optimizer, config.gamma), False)
        case study.Plateau():
            plateau = lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=config.factor, patience=config.patience
            )
            return LearningRate(plateau, False)
        case study.Cyclic():
            cyclic = lr_scheduler.CyclicLR(
                optimizer,
                base_lr=lr / config.ratio,
                max_lr=lr,
                step_size_up=max(1, round(config.step_size * steps_per_epoch)),
                mode=config.mode,
                gamma=config.gamma ** (1 / steps_per_epoch),
                # Cycling momentum raises with Adam (pytorch #73910); only the rate varies here.
                cycle_momentum=False,
            )
            return LearningRate(cyclic, True)
        case study.OneCycle():
            one_cycle = lr_scheduler.OneCycleLR(
                optimizer,
                max_lr=lr,
                total_steps=epochs * steps_per_epoch,
                pct_start=config.pct_start,
                div_factor=config.div_factor,
                final_div_factor=config.final_div_factor,
                cycle_momentum=False,
            )
            return LearningRate(one_cycle, True)
        case study.Cosine():
            cosine = lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * steps_per_epoch)
            return LearningRate(cosine, True)
