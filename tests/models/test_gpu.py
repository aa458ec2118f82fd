"""On a GPU: what other tests see on a processor, as far as a GPU can be held to it."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from h2a_lib.models import dataset as batches
from h2a_lib.models import networks
from h2a_lib.models.cuda_graph import Graphed
from h2a_lib.models.range_test import range_test
from h2a_lib.models.training import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="for make test-gpu")
# All that goes through the loop.
FULL = {
    "augment": {},
    "ema_decay": 0.9,
    "optimizer": "adamw",
    "schedule": "one_cycle",
    "task": "both",
    "epochs": 6,
    "lr": 3e-3,
}


def test_a_network_learns_in_mixed_precision(config, hands, tmp_path):
    training_rows = train(config(**FULL, precision="auto"), hands, tmp_path / "checkpoint.pt")
    assert next(training_rows.network.parameters()).device.type == "cuda"
    history = training_rows.progress.history
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert np.isfinite(training_rows.predictions["predicted_age_months"]).all()


def test_what_does_not_fit_is_streamed_and_shows_the_same_hands(hands, monkeypatch):
    def observed() -> torch.Tensor:
        dataset = batches.DeviceDataset.of(hands, torch.device("cuda"))
        random = batches.generator(torch.device("cpu"), 0)
        shown = list(dataset.shuffled(np.arange(len(hands.images)), 7, random))
        return torch.cat([batch.pixels.mean((1, 2, 3)) + batch.age_months for batch in shown])

    resident = observed()
    monkeypatch.setattr(batches, "RESIDENT_SHARE", 0.0)
    torch.testing.assert_close(observed(), resident)


def test_an_interrupted_training_goes_on_where_it_was(config, hands, tmp_path):
    def stop(progress, _):
        if progress.epoch == 3:
            raise KeyboardInterrupt

    chosen, checkpoint = config(**FULL, precision="32-true"), tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(chosen, hands, checkpoint, on_epoch=stop, seconds_between_checkpoints=0)
    went_on = train(chosen, hands, checkpoint).progress.history
    whole = train(chosen, hands, tmp_path / "other.pt").progress.history
    assert [row["epoch"] for row in went_on] == [1, 2, 3, 4, 5, 6]
    # A GPU adds in any order.
    assert went_on[-1]["train_loss"] == pytest.approx(whole[-1]["train_loss"], rel=0.05)


def test_the_range_test_ends_with_a_rate(config, hands):
    assert range_test(config(), hands, n_steps=30).suggestion > 0


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_replayed_step_is_the_step_itself(precision):
    def four_steps(graphed: bool) -> tuple[list[float], dict[str, torch.Tensor]]:
        fabric = Fabric(accelerator="cuda", devices=1, precision=precision)
        torch.manual_seed(0)
        network = networks.build("resnet18", sex_input=True)
        network = network.to(fabric.device).to(memory_format=torch.channels_last)
        statistics = {k: v.clone() for k, v in network.state_dict().items()}
        learner = Graphed(network, 8, 64, fabric) if graphed else network
        network.load_state_dict(statistics)  # recording has moved those of batch norm
        optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
        model, optimizer = fabric.setup(learner, optimizer)
        random = batches.generator(torch.device("cpu"), 0)
        losses = []
        for n in (8, 8, 5, 8):  # the third goes through the network itself
            images = torch.randn(n, 1, 64, 64, generator=random).cuda()
            loss = model(images, (torch.arange(n) % 2).float().cuda())["age"].square().mean()
            optimizer.zero_grad()
            fabric.backward(loss)
            optimizer.step()
            losses.append(loss.item())
        return losses, network.state_dict()

    (losses, weights), (expected, wanted) = four_steps(True), four_steps(False)
    assert losses == pytest.approx(expected, rel=0.02)
    for name in wanted:
        torch.testing.assert_close(weights[name], wanted[name], rtol=0.02, atol=0.02)
    assert weights["trunk.bn1.num_batches_tracked"] == 4


def test_an_epoch_of_any_length_is_trained(config, hands, tmp_path):
    # 30 hands: whole batches and a smaller one, batches of all hands, none that is whole.
    for batch_size in (8, 30, 64):
        chosen = config(**FULL, batch_size=batch_size)
        training_rows = train(chosen, hands, tmp_path / f"{batch_size}.pt")
        assert np.isfinite(training_rows.progress.history[-1]["train_loss"])
