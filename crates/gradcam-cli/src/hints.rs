//! What to do about an error or a warning, in the words of the command line.

use gradcam::Hint;

/// A hint as its flags.
pub(crate) fn words(hint: &Hint) -> String {
    match hint {
        Hint::NameLayer => "name a layer with --layer".to_owned(),
        Hint::ListLayers => "list them with: gradcam layers [MODEL]".to_owned(),
        Hint::NameLayers => "name several: --layer A --layer B".to_owned(),
        Hint::DropLayers => "leave out --layer, or choose another method".to_owned(),
        Hint::GiveGrid => "or give the grid of tokens [N, T, K] with --grid".to_owned(),
        Hint::GiveLabels => "give a label for each class with --labels".to_owned(),
        Hint::RaiseMemoryLimit => "raise it with --max-memory if that is right".to_owned(),
        Hint::NameOutput => "name the output that holds the scores with --output-name".to_owned(),
        Hint::NameMethod => "choose --method hirescam".to_owned(),
        Hint::GiveReference => {
            "give it with --similar-to PHOTO, or --similar-to VECTOR.npy".to_owned()
        }
        Hint::GiveInputs => {
            "give each input beside the images its value with --input NAME=FILE.npy".to_owned()
        }
        Hint::KeepPixels => {
            "photos have whole numbers with --rescale 1 --mean 0 --std 1".to_owned()
        }
        Hint::GivePreprocessing => {
            "say it with --fit, --short-side, --filter, --rescale, --mean, --std, or put a \
                                    preprocessor_config.json beside the model"
                .to_owned()
        }
        Hint::GiveFit => "say how photos fit with --fit".to_owned(),
        Hint::GiveSize => {
            "say another, width x height, with --size 320x48, or explain a .npy file of the right shape"
                .to_owned()
        }
        Hint::GiveSizes => "give the sizes of that input with --shape NAME=1,3,224,224".to_owned(),
        other => other.to_string(),
    }
}
