"""Denoised smoothing: a denoiser before a net that never saw noise (Salman et al. 2020)."""

import torch

from sparring.defenses.certification import SmoothedClassifier
from sparring.defenses.purification import Denoiser, DenoisingAutoencoder, FitConfig, fit_denoiser
from sparring.engine import Engine
from sparring.targets import Defended, Pipeline
from sparring.zoo import load_data, load_model

SIGMA = 0.5


def digits(name, every):
    chunk = next(iter(load_data(f"zoo:{name}", input=None).chunks(4000)))
    return chunk.images[::every], chunk.labels[::every]


def test_a_denoiser_raises_the_certified_accuracy_of_a_net_that_saw_no_noise():
    learned, _ = digits("mnist-4k", 8)
    images, labels = digits("mnist-heldout", 50)
    torch.manual_seed(0)
    stage = Denoiser(DenoisingAutoencoder(1, width=8))
    losses = fit_denoiser(stage, learned, sigma=SIGMA, clip=False, config=FitConfig(epochs=8, batch_size=25, lr=5e-3))
    assert losses[-1] < 0.5 * losses[0]
    bare = load_model("zoo:mnist-plain").target
    radii, engine = torch.tensor([0.25, 0.5]), Engine(batch_size=500)
    accuracy, average = {}, {}
    for name, target in (("bare", bare), ("denoised", Pipeline(bare, stage))):
        found = SmoothedClassifier(target, SIGMA).certify(images, 20, 200, engine=engine)
        accuracy[name], average[name] = found.certified_accuracy(labels, radii), found.average_radius(labels)
    assert bool((accuracy["denoised"] > accuracy["bare"] + 0.1).all())
    assert average["denoised"] > average["bare"] + 0.1


def test_denoisers_stand_behind_the_noise_in_the_deployed_defence():
    images, _ = digits("mnist-heldout", 250)
    stage = Denoiser(DenoisingAutoencoder(1, width=4))
    smoothed = SmoothedClassifier(Pipeline(load_model("zoo:mnist-plain").target, stage), SIGMA)
    deployed = smoothed.deployed(votes=3)
    assert isinstance(deployed, Defended)
    assert deployed.name.startswith("InputNoise > Denoiser > ")
    assert deployed(images).shape == (len(images), 10)


def test_clipping_is_a_choice_of_the_denoisers_training():
    images, _ = digits("mnist-heldout", 100)
    losses = []
    for clip in (True, False):
        torch.manual_seed(0)
        stage = Denoiser(DenoisingAutoencoder(1, width=4))
        losses.append(fit_denoiser(stage, images, sigma=SIGMA, clip=clip, config=FitConfig(epochs=1)))
    assert losses[0] != losses[1]
