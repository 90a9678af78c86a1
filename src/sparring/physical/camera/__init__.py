"""Cameras: the picture of a scene -> the image that a camera stores."""

from .camera import Camera, CameraParameters
from .exposure import Exposure, Illumination
from .lens import GaussianBlur, Lens
from .sensor import GaussianNoise, Sensor

__all__ = ["Camera", "CameraParameters", "Exposure", "GaussianBlur", "GaussianNoise", "Illumination", "Lens", "Sensor"]
