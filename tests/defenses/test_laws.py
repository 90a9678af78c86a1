"""The laws of a defence's parts over every stage that the rooms have."""

import pytest
import torch
from torch import nn

from sparring.defenses import purification as clean
from sparring.defenses import randomization as draws
from sparring.testing import check_defense
from sparring.testing.cases import draw
from sparring.transforms import Stage

IMAGES = (0.5 + 0.2 * draw("defense", (4, 3, 12, 12))).clamp(0.02, 0.98)


class Shrinking(nn.Module):
    """What a diffusion model of standard normal images says is noise."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 0.1 * x * (1 + t.to(x.dtype).view(-1, 1, 1, 1) / 1000)


def seeded(make) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double().eval()


STAGES: dict[str, Stage] = {
    "bit-depth": clean.BitDepth(3),
    "jpeg": clean.JPEGCompression(75),
    "jpeg, cubic": clean.JPEGCompression(75, rounding="cubic"),
    "median": clean.Median(3),
    "total-variation": clean.TotalVariation(steps=20),
    "total-variation without drops": clean.TotalVariation(drop_prob=0, steps=20),
    "non-local-means": clean.NonLocalMeans(search_window=5),
    "wavelet": clean.Wavelet(),
    "quilting": clean.Quilting(clean.clean_patches(IMAGES, n_patches=100), neighbors=3),
    "denoiser": clean.Denoiser(seeded(lambda: clean.DenoisingAutoencoder(3, width=4))),
    "hgd": clean.HGD(seeded(lambda: clean.UNet(3, width=4))),
    "defense-gan": clean.DefenseGAN(
        seeded(lambda: clean.VAEGenerator(3, (12, 12), latent_dim=4, width=4)), latent_dim=4, steps=10, restarts=2
    ),
    "diffusion": clean.Diffusion(seeded(Shrinking), t_star=0.02, steps=4),
    "resize-pad": draws.ResizePad(),
    "resize-pad, bilinear": draws.ResizePad(min_scale=0.8, max_scale=1.2, output_scale=1.3, interpolation="bilinear"),
    "input-noise": draws.InputNoise(0.1),
    "input-noise, clipped": draws.InputNoise(0.1, kind="uniform", clip=True),
}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_what_it_declares(name: str) -> None:
    check_defense(STAGES[name], IMAGES)


def test_every_stage_is_here() -> None:
    assert {type(stage) for stage in STAGES.values()} >= {*clean.table.values(), *draws.table.values()}
