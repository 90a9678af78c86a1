"""The digit nets of the zoo before they learn anything."""

from torch import nn

from sparring.zoo.mnist_net import MnistNet


def plain() -> nn.Module:
    return MnistNet()


def wide() -> nn.Module:
    return MnistNet(channels=32, hidden=128)
