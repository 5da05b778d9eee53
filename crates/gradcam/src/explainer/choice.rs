//! The layers that are explained: those that the user names, or the default.

use onnx_grad::graph::Graph;

use crate::{
    Result,
    error::bail,
    layer::{DefaultLayer, LayerReason, Layers},
    method::Method,
    warning::Warning,
};

/// Refuses layers for a method that takes none.
pub(super) fn refuse_layers(method: Method, names: &[String]) -> Result<()> {
    match names.first() {
        None => Ok(()),
        Some(name) => bail!(
            Method, DropLayers;
            "method {method} explains the network's input and takes no layer, not \"{name}\""
        ),
    }
}

/// The layers that are explained, module path and value name, and why these. A module keeps the path that the user wrote.
pub(super) fn chosen_layers(
    graph: &Graph,
    layers: &Layers,
    names: &[String],
    warnings: &mut Vec<Warning>,
) -> Result<(Vec<(String, String)>, LayerReason)> {
    let named = |path: &str, value| (path.to_owned(), graph.name(value).to_owned());
    if names.is_empty() && !layers.scales().is_empty() {
        let chosen = layers
            .scales()
            .iter()
            .map(|scale| named(layers.path_of(graph, scale.value), scale.value));
        return Ok((chosen.collect(), LayerReason::SCALE));
    }
    if names.is_empty() {
        return match layers.default() {
            Some(DefaultLayer { value, reason }) => {
                Ok((vec![named(layers.path_of(graph, value), value)], reason))
            }
            None => bail!(
                Layer, NameLayer;
                "the model has no feature map with spatial extent that its whole output passes through"
            ),
        };
    }
    let mut chosen: Vec<(String, String)> = Vec::new();
    for name in names {
        let value = layers.find(graph, name)?;
        if !layers.reaches_scores(value) {
            bail!(
                Layer,
                "layer \"{name}\" does not reach the model's scores, so they have no gradient there; choose a \
                 layer that they are computed from"
            )
        }
        if !layers.has_space(graph, value) {
            let shape = graph.fact(value).sizes().unwrap_or_default();
            bail!(
                Layer, GiveGrid;
                "layer \"{name}\" has shape {shape:?}, without spatial extent; choose a layer of positions and \
                 channels, such as [N, K, H, W]"
            )
        }
        if chosen.iter().all(|(_, known)| known != graph.name(value)) {
            let path = if layers.is_module(name) { name } else { layers.path_of(graph, value) };
            chosen.push(named(path, value));
            warnings.extend(layers.folded_norm(graph, name, value));
        }
    }
    Ok((chosen, LayerReason::NAMED))
}
