//! The name that the exporter gave a node, before an optimizer changed it.

use onnx_grad::proto::NodeProto;

/// The name that the exporter gave a node. An optimizer that replaces several nodes by one keeps the last one's output,
/// which torch and tf2onnx name after its node: `/relu/Relu_output_0`, `net/relu/Relu:0`. ONNX Runtime appends to
/// names: `/act/Mul/QuickGeluFusion/`, and to those of quantized values `/relu/Relu_output_0_quantized`.
pub(super) fn written_name(node: &NodeProto) -> Option<&str> {
    let of_value = node.output.first().and_then(|value| {
        let value = value.strip_suffix("_quantized").unwrap_or(value);
        let separator = if value.starts_with('/') { "_output_" } else { ":" };
        let (name, number) = value.rsplit_once(separator)?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && name.contains('/')).then_some(name)
    });
    let name = node.name.as_deref()?;
    Some(of_value.unwrap_or_else(|| match name.rsplit_once("Fusion") {
        Some((made_of, "" | "/")) => made_of.rsplit_once('/').map_or(name, |(made_of, _)| made_of),
        Some((made_of, part))
            if part.trim_start_matches('/').starts_with('.')
                || part.starts_with('_') && !part.contains('/') =>
        {
            made_of.rsplit_once('/').map_or(name, |(made_of, _)| made_of)
        }
        _ => name,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_optimizers() {
        let rows = [
            ("/block/conv/Conv.product", "/block/conv/Conv/product", "/block/conv/Conv.product"),
            ("/block/conv/Conv.y", "/block/relu/Relu_output_0", "/block/relu/Relu"),
            ("Conv__61.y", "net_1/re_lu_1/Relu:0", "net_1/re_lu_1/Relu"),
            ("/act/Mul/QuickGeluFusion/.gate", "/act/Mul/QuickGeluFusion//gate", "/act/Mul"),
            ("/act/Mul/QuickGeluFusion/", "scores", "/act/Mul"),
            ("/fc/MatMul/MatMulAddFusion_MatMul_quant", "token_58", "/fc/MatMul"),
            ("/Fusion/Add", "/Fusion/Add_output_0", "/Fusion/Add"),
            ("/conv/Conv_quant.y", "/relu/Relu_output_0_quantized", "/relu/Relu"),
            ("net_1/dense_1/Softmax", "Identity:0", "net_1/dense_1/Softmax"),
        ];
        for (name, value, written) in rows {
            let node = NodeProto {
                name: Some(name.to_owned()),
                output: vec![value.to_owned()],
                ..NodeProto::default()
            };
            assert_eq!(written_name(&node), Some(written), "{name}");
        }
    }
}
