//! Triton's `config.pbtxt`: the layout of the input and the file of labels.
//!
//! <https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/model_configuration.html>

use super::Layout;

/// The text without comments.
fn without_comments(text: &str) -> String {
    let code = |line: &str| {
        let quotes = |end: usize| line[..end].bytes().filter(|byte| *byte == b'"').count();
        let comment = line.match_indices('#').find(|(at, _)| quotes(*at) % 2 == 0);
        line[..comment.map_or(line.len(), |(at, _)| at)].to_owned() + "\n"
    };
    text.lines().map(code).collect()
}

/// The layout that the first input with a format has.
pub(super) fn layout(text: &str) -> Option<Layout> {
    let text = without_comments(text);
    [("FORMAT_NHWC", Layout::Nhwc), ("FORMAT_NCHW", Layout::Nchw)]
        .into_iter()
        .filter_map(|(name, layout)| Some((text.find(name)?, layout)))
        .min_by_key(|(at, _)| *at)
        .map(|(_, layout)| layout)
}

/// The name of the first file of labels.
pub(super) fn label_file(text: &str) -> Option<String> {
    let text = without_comments(text);
    let (_, rest) = text.split_once("label_filename")?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    rest.split_once('"').map(|(name, _)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration() {
        let text = r#"
name: "net" # label_filename: "wrong.txt" FORMAT_NCHW
input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 224, 224, 3 ] } ]
output [ { name: "y" dims: [ 10 ] label_filename : "a#b.txt" } ]
"#;
        assert_eq!(layout(text), Some(Layout::Nhwc));
        assert_eq!(label_file(text).as_deref(), Some("a#b.txt"));
        assert_eq!((layout("name: \"x\""), label_file("name: \"x\"")), (None, None));
    }
}
