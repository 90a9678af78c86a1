"""Models and data sets that come with a package, and loaders for the hubs; torch is imported when needed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalog import data as data
    from .catalog import face_plan_path as face_plan_path
    from .catalog import face_plans as face_plans
    from .catalog import get as get
    from .catalog import models as models
    from .catalog import plan_path as plan_path
    from .catalog import plans as plans
    from .coco_data import CocoData as CocoData
    from .dataset import Chunk as Chunk
    from .dataset import Data as Data
    from .dataset import DataSource as DataSource
    from .dataset import Row as Row
    from .dataset import Skipped as Skipped
    from .loaded import InputSpec as InputSpec
    from .loaded import LoadedModel as LoadedModel
    from .loaders import load_model as load_model
    from .sources import count_classes as count_classes
    from .sources import load_data as load_data

HOMES = {
    "Chunk": "dataset",
    "CocoData": "coco_data",
    "Data": "dataset",
    "DataSource": "dataset",
    "InputSpec": "loaded",
    "LoadedModel": "loaded",
    "Row": "dataset",
    "Skipped": "dataset",
    "data": "catalog",
    "face_plan_path": "catalog",
    "face_plans": "catalog",
    "get": "catalog",
    "models": "catalog",
    "plan_path": "catalog",
    "plans": "catalog",
    "count_classes": "sources",
    "load_data": "sources",
    "load_model": "loaders",
}
__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
