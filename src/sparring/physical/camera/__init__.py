"""Cameras: the picture of a scene -> the image that a camera stores."""

from .camera import Camera, CameraParameters
from .codec import DifferentiableJPEG, LibJPEG
from .exposure import Exposure, Illumination
from .lens import GaussianBlur, Lens
from .mosaic import BayerMosaic
from .processing import AutoBalance, ToneCurve
from .resize import Resize
from .sensor import GaussianNoise, Sensor

__all__ = [
    "AutoBalance", "BayerMosaic", "Camera", "CameraParameters", "DifferentiableJPEG", "Exposure", "GaussianBlur",
    "GaussianNoise", "Illumination", "Lens", "LibJPEG", "Resize", "Sensor", "ToneCurve",
]  # fmt: skip
