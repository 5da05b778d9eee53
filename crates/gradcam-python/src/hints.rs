//! What to do about an error or a warning, in the words of the Python package.

use gradcam::Hint;

/// A hint as the arguments of `Explainer` and its methods.
pub(crate) fn words(hint: &Hint) -> String {
    let text = match hint {
        Hint::NameLayer => "name a layer with layers=[...]",
        Hint::ListLayers => "list them with onnx_gradcam.layers(model)",
        Hint::NameLayers => "name several with layers=[\"A\", \"B\"]",
        Hint::DropLayers => "leave layers out, or choose another method",
        Hint::GiveGrid => "or give the grid of tokens with grid=(rows, columns)",
        Hint::GiveLabels => "give a file with a label for each class with labels=",
        Hint::RaiseMemoryLimit => "raise it with max_memory= if that is right",
        Hint::NameOutput => "name the output that holds the scores with output=",
        Hint::NameMethod => "choose method=\"hirescam\"",
        Hint::GiveReference => {
            "say what it is compared with: SimilarTarget(explainer.embedding(image))"
        }
        Hint::GiveInputs => "give each input beside the image its value with inputs={name: array}",
        Hint::KeepPixels => "photos have whole numbers with rescale=1, mean=0, std=1",
        Hint::GivePreprocessing => {
            "say it with size=, fit=, short_side=, filter=, rescale=, mean=, std=, or put a preprocessor_config.json \
             beside the model"
        }
        Hint::GiveFit => "say how photos fit with fit=",
        Hint::GiveSize => {
            "say another with size=(width, height), or explain an array of the right shape"
        }
        other => return other.to_string(),
    };
    text.to_owned()
}
