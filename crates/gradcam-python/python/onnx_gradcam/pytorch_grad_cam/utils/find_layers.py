"""Layers of a module and of all its parts, by identity, by type or by a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def replace_layer_recursive(model: Any, old_layer: Any, new_layer: Any) -> bool:
    """Puts a layer in the place of another one; whether that was found."""
    for name, layer in model._modules.items():
        if layer is old_layer:
            model._modules[name] = new_layer
            return True
        if replace_layer_recursive(layer, old_layer, new_layer):
            return True
    return False


def replace_all_layer_type_recursive(model: Any, old_layer_type: type, new_layer: Any) -> None:
    """Puts a layer in the places of all layers of a type."""
    for name, layer in model._modules.items():
        if isinstance(layer, old_layer_type):
            model._modules[name] = new_layer
        else:
            replace_all_layer_type_recursive(layer, old_layer_type, new_layer)


def find_layer_types_recursive(model: Any, layer_types: Sequence[type]) -> list[Any]:
    """All layers of these very types."""
    return find_layer_predicate_recursive(model, lambda layer: type(layer) in layer_types)


def find_layer_predicate_recursive(model: Any, predicate: Callable[[Any], bool]) -> list[Any]:
    """All layers that a function chooses, outer ones before their parts."""
    found = []
    for layer in model._modules.values():
        if predicate(layer):
            found.append(layer)
        found += find_layer_predicate_recursive(layer, predicate)
    return found
