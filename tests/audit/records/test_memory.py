"""Memory does not grow with the number of images."""

import subprocess
import sys
from pathlib import Path

import pytest

import sparring as sp

SCRIPT = """
import resource, sys
import torch
from torch import nn
import sparring as sp

torch.set_num_threads(1)

class Stream:
    # Images made while they are read.
    def __init__(self, count):
        self.count = count
    def __iter__(self):
        for number in range(self.count // 100):
            generator = torch.Generator().manual_seed(number)
            yield torch.rand((100, 1, 16, 16), generator=generator), torch.randint(0, 4, (100,), generator=generator)

torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(256, 4))
count = int(sys.argv[1])
report = sp.audit(sp.Classifier(net), Stream(count), threats=[sp.Linf(0.01), sp.Linf(0.02)], out=sys.argv[2],
                  suite="fgsm,pgd", steps=2, batch_size=100)
assert report.data.count == count
assert report.threats[0].epsilons[1].robust_accuracy.count < report.threats[0].curve[0].robust_accuracy.count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(count: int, out: Path) -> int:
    """Kilobytes of memory, at most, of an audit of so many images in a process of its own."""
    source = str(Path(sp.__file__).parent.parent)
    command = [sys.executable, "-c", SCRIPT, str(count), str(out)]
    environment = {"PYTHONPATH": source, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_a_hundred_thousand_images_take_the_memory_of_a_thousand(tmp_path):
    few, many = peak(1_000, tmp_path / "few"), peak(100_000, tmp_path / "many")
    print(f"peak of 1,000 images: {few} kB; of 100,000: {many} kB; {many / few - 1:+.1%}")
    assert many < 1.1 * few
