//! What to do about an error or a warning, in the words of the page.

use gradcam::Hint;

/// A hint as the fields of the page.
pub(crate) fn words(hint: &Hint) -> String {
    let text = match hint {
        Hint::NameLayer => "choose a layer in the tree of layers",
        Hint::ListLayers => "the tree of layers has them all",
        Hint::NameLayers => "choose several in the tree of layers",
        Hint::DropLayers => "choose the default layer, or another method",
        Hint::GiveGrid => "or give the grid of tokens under \"What the file lacks\"",
        Hint::GiveLabels => "drop a file with a label for each class together with the model",
        Hint::RaiseMemoryLimit => {
            "a page has 2 GiB at most; use a smaller input, or the command line"
        }
        Hint::NameOutput => "name the output that holds the scores under \"What the file lacks\"",
        Hint::NameMethod => "choose the method HiResCAM",
        Hint::GiveReference => "the page has no field for it; use the command line",
        Hint::GiveInputs => "the page has no field for them; use the command line",
        Hint::KeepPixels => {
            "photos have whole numbers with rescale 1, mean 0 and standard deviation 1"
        }
        Hint::GivePreprocessing => {
            "say it under \"What the file lacks\", or drop a preprocessor_config.json together with the model"
        }
        Hint::GiveFit => "say how photos fit under \"What the file lacks\"",
        Hint::GiveSize => "say another size under \"What the file lacks\"",
        other => return other.to_string(),
    };
    text.to_owned()
}

/// An error as a message of the page.
pub(crate) fn message(error: &gradcam::Error) -> String {
    error.worded(words)
}
