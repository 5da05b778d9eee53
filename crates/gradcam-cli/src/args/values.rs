//! Values of flags: from text to what the library takes, and the texts of the help.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    sync::LazyLock,
};

use clap::builder::{
    PossibleValue, PossibleValuesParser, TypedValueParser,
    styling::{AnsiColor, Styles},
};
use gradcam::{
    Area, ExportHeads, HeadKind, METHODS, Method, PROFILES, Profile,
    engine::{ENGINES, Provider},
    image::{
        Colormap, FUSIONS, Filter, Fusion, OverlayKind, PictureSize,
        preprocess::{Channels, Fit, Layout},
    },
};

use super::{Depth, Format, SheetFormat};
use crate::engine::EngineChoice;

pub(super) const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

pub(super) static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let engines = ENGINES.iter().map(|info| format!("{} ({})", info.id, info.about));
    format!(
        "{}\nengines: {}\nbuilt-in model: EfficientNet-Lite0",
        env!("CARGO_PKG_VERSION"),
        engines.collect::<Vec<_>>().join(", ")
    )
});

pub(super) const EXAMPLES: &str = "\
Examples:
  gradcam explain cat.jpg                          what the built-in model sees, and where
  gradcam explain cat.jpg -m resnet50.onnx         the same with a model of yours
  gradcam concepts cat.jpg                         the parts that the last layer tells apart
  gradcam layers resnet50.onnx                     the layers that can be explained
  gradcam export resnet50.onnx -o explained.onnx   a model with the heatmap as an output
  gradcam grad m.onnx --of y --wrt x -o g.onnx     a model with the gradient of any value
  gradcam methods                                  the ways to compute a map

`gradcam COMMAND --help` explains a command with all its flags.
Also: gradcam completions SHELL, gradcam man [COMMAND]";

pub(super) const EXPLAIN_EXAMPLES: &str = "\
Examples:
  gradcam explain cat.jpg
      Writes cat.285-egyptian-cat.png: the photo with the heatmap of its best class.
  gradcam explain cat.jpg --target 'tabby cat' --target espresso -o maps/
      Two classes by name, two pictures in the folder maps.
  gradcam explain cat.jpg --target 285-967
      Why Egyptian cat and not espresso.
  gradcam explain photos/ -m resnet50.onnx -o maps/
      A model of yours, every picture of a folder; maps/ has the same folders.
  gradcam explain cat.jpg -m model.onnx --rescale 1/255 --mean 0.5 --std 0.5 --fit squash
      Says how photos are prepared where the model does not.
  gradcam explain batch.npy -m model.onnx --format npy,json
      Tensors that are ready for the network; the maps as arrays.
  gradcam explain cat.jpg --contours
      Lines of equal heat; also --cutout, --transparent, --colorbar.
  curl -s https://example.com/cat.jpg | gradcam explain - -o - > map.png
      From standard input to standard output.

Exit codes: 0 done, 1 something failed (the other images are done), 2 a mistake on the command line.";

pub(super) const COMPARE_EXAMPLES: &str = "\
Examples:
  gradcam compare cat.jpg --method gradcam,layercam,eigencam
      Writes compare.png: the photo, and beside it a map of each method.
  gradcam compare cat.jpg dog.jpg --target 'tabby,espresso' -o sheet.svg
      Four rows, one for each photo and class, as SVG.
  gradcam compare cat.jpg -m resnet50.onnx --layer layer2,layer3,layer4
      How the map changes from layer to layer.
  gradcam compare photos/ -m resnet18.onnx -m resnet50.onnx --cell 25 --dpi 600
      Two models, each with its best class below its map; for print.

Exit codes: 0 done, 1 something failed and no sheet is written, 2 a mistake on the command line.";

pub(super) const CONCEPTS_EXAMPLES: &str = "\
Examples:
  gradcam concepts cat.jpg
      Writes cat.concepts.png: the photo in five colors, and beside it what each color stands for.
  gradcam concepts a.jpg b.jpg c.jpg --components 8 -o concepts/
      The same eight concepts in three photos.
  gradcam concepts cat.jpg -m resnet50.onnx --layer layer3 --format npy,json
      The maps as an array [components, h, w], and the classes of each concept.

Exit codes: 0 done, 1 something failed and nothing is written, 2 a mistake on the command line.";

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  gradcam export resnet50.onnx -o explained.onnx
      The outputs of the model, and gradcam.map, gradcam.heatmap and gradcam.class of its best class.
  gradcam export resnet50.onnx -o explained.onnx --target top:3
      Three heatmaps of each image, [N, 3, H, W].
  gradcam export resnet50.onnx -o explained.onnx --target input --layer layer3
      The class is an input of the model, gradcam.target.
  gradcam export yolo.onnx -o explained.onnx --size 640 --heads cam-only --fp16
      Only the outputs of gradcam; weights as 16-bit floats.

The file is an ordinary ONNX model of standard operators at the opset of yours: docs/export.md says where it runs.

Exit codes: 0 done, 1 the model cannot be exported so, 2 a mistake on the command line.";

pub(super) const GRAD_EXAMPLES: &str = "\
Examples:
  gradcam grad resnet50.onnx --of logits --wrt input -o saliency.onnx
      How each pixel changes the sum of the scores: the output input.grad.
  gradcam grad resnet50.onnx --of logits --wrt input --seed seed -o class.onnx
      The same of a class: the input seed [N, 1000] is 1 at the class and 0 elsewhere.
  gradcam grad resnet50.onnx --of layer4 --wrt layer3 --wrt layer2 -o inside.onnx
      Between values inside of the model: the outputs layer3.grad and layer2.grad.
  gradcam grad saliency.onnx --of input.grad --wrt input -o second.onnx
      The gradient of a gradient: input.grad.grad.

The outputs of the model come first and stay as they are. The file is an ordinary ONNX model of standard operators at the opset \
of yours: docs/onnx-grad.md has examples of what it is good for.

Exit codes: 0 done, 1 the model has no such gradient, 2 a mistake on the command line.";

pub(super) const INSPECT_EXAMPLES: &str = "\
Examples:
  gradcam inspect resnet50.onnx
      What an explanation adds, by operator.
  gradcam inspect explained.onnx --graph
      Every node of an exported model; + marks those of the explanation.
  gradcam inspect resnet50.onnx --layer layer3 --svg path.svg
      The way from the layer to the scores, and the gradient back, as a picture; --dot is for Graphviz.

Operations are two for each multiplication and addition in products and convolutions, else one for each element.";

pub(super) const LAYERS_EXAMPLES: &str = "\
Examples:
  gradcam layers
      The layers of the built-in model.
  gradcam layers resnet50.onnx
      Those of a model of yours; * marks the default, + what else can be explained.
  gradcam layers yolo.onnx --size 640
      A model whose input size is open.
  gradcam layers resnet50.onnx --json | jq '.layers[] | select(.candidate) | .path'
      The names alone, for scripts.";

pub(super) const BENCH_EXAMPLES: &str = "\
Examples:
  gradcam bench resnet50.onnx
      Plain inference, explanation and their ratio, with the time of each stage.
  gradcam bench resnet50.onnx --engine rten --engine onnxruntime --layer layer3 --layer layer4
      One line for each engine and layer, each from a process of its own.
  gradcam bench resnet50.onnx --method gradcam --method ablationcam
      One line for each method.
  gradcam bench resnet50.onnx --json | jq .ratio
      The median ratio; ratio_iqr is the distance of its quartiles.

Inference and explanation run in turn, and the ratio is taken pair by pair. Measure on an idle machine. load: reading the \
model; differentiate, compile, first run: the parts of the first explanation; post: the heatmap; peak: the memory of the \
process after the first explanation.";

pub(super) const METHODS_EXAMPLES: &str = "\
Examples:
  gradcam methods
      The table.
  gradcam explain cat.jpg --method gradcam --method layercam
      Two of them side by side, from one run of the network.
  gradcam explain cat.jpg --method guided-backprop --format png,npy
      Which pixels raise the score, as a picture and as an array [C, H, W].";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  gradcam completions bash > ~/.local/share/bash-completion/completions/gradcam
  gradcam completions zsh > ~/.zfunc/_gradcam
  gradcam completions fish > ~/.config/fish/completions/gradcam.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  gradcam man > gradcam.1
  gradcam man explain | man -l -";

/// A parser of one word out of a list, which is shown in the help and in the error.
fn one_of<T: Clone + Send + Sync + 'static>(
    words: impl IntoIterator<Item = (PossibleValue, T)>,
) -> impl TypedValueParser<Value = T> {
    let (words, values): (Vec<PossibleValue>, Vec<T>) = words.into_iter().unzip();
    let names: Vec<String> = words.iter().map(|word| word.get_name().to_owned()).collect();
    PossibleValuesParser::new(words).try_map(move |word| {
        let place = names.iter().position(|name| *name == word);
        place.and_then(|place| values.get(place).cloned()).ok_or("no such value")
    })
}

fn plain<T>(words: impl IntoIterator<Item = (&'static str, T)>) -> Vec<(PossibleValue, T)> {
    words.into_iter().map(|(word, value)| (PossibleValue::new(word), value)).collect()
}

/// The method of pytorch-grad-cam that is a command here.
const FACTORIZATION: &str = "dff";

pub(super) fn methods() -> impl TypedValueParser<Value = Method> {
    let known = METHODS.iter().map(|row| PossibleValue::new(row.id));
    let all: Vec<_> = known.chain([PossibleValue::new(FACTORIZATION).hide(true)]).collect();
    PossibleValuesParser::new(all).try_map(|word| match word.as_str() {
        FACTORIZATION => Err("deep feature factorization gives several maps of a layer, and takes no target; it is a command \
                              of its own: gradcam concepts"
            .to_owned()),
        method => method.parse().map_err(|error: gradcam::Error| error.to_string()),
    })
}

pub(super) fn fusions() -> impl TypedValueParser<Value = Fusion> {
    one_of(plain(FUSIONS.iter().map(|row| (row.id, row.fusion))))
}

pub(super) fn profiles() -> impl TypedValueParser<Value = Profile> {
    one_of(PROFILES.iter().filter_map(|row| {
        let value = row.id.parse().ok()?;
        Some((PossibleValue::new(row.id), value))
    }))
}

pub(super) fn heads() -> impl TypedValueParser<Value = HeadKind> {
    one_of(plain(HeadKind::ALL))
}

pub(super) fn area(text: &str) -> Result<Area, String> {
    text.parse().map_err(|error: gradcam::Error| error.to_string())
}

pub(super) fn engines() -> impl TypedValueParser<Value = EngineChoice> {
    let named = ENGINES.iter().map(|info| (info.id, EngineChoice::Named(info.kind)));
    one_of(plain([("auto", EngineChoice::Auto)].into_iter().chain(named)))
}

pub(super) fn providers() -> impl TypedValueParser<Value = Provider> {
    one_of(plain(Provider::ALL.map(|provider| (provider.name(), provider))))
}

pub(super) fn colormaps() -> impl TypedValueParser<Value = Colormap> {
    one_of(plain(Colormap::ALL))
}

pub(super) fn export_heads() -> impl TypedValueParser<Value = ExportHeads> {
    one_of(plain(ExportHeads::ALL))
}

pub(super) fn formats() -> impl TypedValueParser<Value = Format> {
    one_of(plain([("png", Format::Png), ("npy", Format::Npy), ("json", Format::Json)]))
}

pub(super) fn sheet_formats() -> impl TypedValueParser<Value = SheetFormat> {
    one_of(plain([("png", SheetFormat::Png), ("svg", SheetFormat::Svg)]))
}

pub(super) fn overlays() -> impl TypedValueParser<Value = OverlayKind> {
    one_of(plain(OverlayKind::ALL.into_iter().filter(|(_, kind)| kind.is_tint())))
}

pub(super) fn picture_sizes() -> impl TypedValueParser<Value = PictureSize> {
    one_of(plain([("photo", PictureSize::Photo), ("network", PictureSize::Network)]))
}

pub(super) fn fits() -> impl TypedValueParser<Value = Fit> {
    one_of(plain(Fit::ALL))
}

pub(super) fn filters() -> impl TypedValueParser<Value = Filter> {
    one_of(plain(Filter::ALL))
}

pub(super) fn layouts() -> impl TypedValueParser<Value = Layout> {
    one_of(plain(Layout::ALL))
}

pub(super) fn channels() -> impl TypedValueParser<Value = Channels> {
    one_of([
        (PossibleValue::new("rgb"), Channels::Rgb),
        (PossibleValue::new("bgr"), Channels::Bgr),
        (PossibleValue::new("grey").alias("gray"), Channels::Gray),
        (PossibleValue::new("rgba"), Channels::Rgba),
        (PossibleValue::new("grey-alpha").alias("gray-alpha"), Channels::GrayAlpha),
    ])
}

/// The levels of a tree.
pub(super) fn depth(text: &str) -> Result<Depth, String> {
    match (text, text.parse().ok().map(NonZeroUsize::new)) {
        ("all", _) | (_, Some(None)) => Ok(Depth::All),
        (_, Some(Some(levels))) => Ok(Depth::Levels(levels)),
        (_, None) => Err("expected a number of levels, or all".to_owned()),
    }
}

pub(super) fn number(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number of at least 1".to_owned())
}

/// A number of pixels.
pub(super) fn side(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "expected a number of pixels of at least 1".to_owned())
}

/// `224` for both sides, or `320x240`, width first.
pub(super) fn size(text: &str) -> Result<(u32, u32), String> {
    let side = |side: &str| side.trim().parse::<u32>().ok().filter(|side| *side > 0);
    let sides = match text.split_once(['x', 'X', '×']) {
        Some((width, height)) => side(width).zip(side(height)),
        None => side(text).map(|side| (side, side)),
    };
    sides.ok_or_else(|| "expected pixels such as 224, or WIDTHxHEIGHT such as 320x240".to_owned())
}

/// `14x20`: rows and columns.
pub(super) fn grid(text: &str) -> Result<(i64, i64), String> {
    let side =
        |side: &str| side.trim().parse::<i64>().ok().filter(|side| (1..1 << 20).contains(side));
    let sides =
        text.split_once(['x', 'X', '×']).and_then(|(rows, columns)| side(rows).zip(side(columns)));
    sides.ok_or_else(|| "expected ROWSxCOLUMNS such as 14x20".to_owned())
}

/// A number, or a quotient such as `1/255`.
pub(super) fn factor(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let value = match text.split_once('/') {
        Some((a, b)) => number(a).zip(number(b)).map(|(a, b)| a / b),
        None => number(text),
    };
    value
        .filter(|value| value.is_finite() && *value != 0.0)
        .ok_or_else(|| "expected a number that is not 0, such as 1/255 or 0.0039".to_owned())
}

/// An input of the model and the file with its value: `age=age.npy`.
pub(super) fn input(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=').filter(|(name, file)| !name.is_empty() && !file.is_empty()) {
        Some((name, file)) => Ok((name.to_owned(), file.into())),
        None => Err("expected NAME=FILE such as age=age.npy".to_owned()),
    }
}

/// An entry of a configuration: `session.x64quantprecision=1`.
pub(super) fn entry(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').filter(|(key, _)| !key.is_empty()) {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("expected KEY=VALUE such as session.x64quantprecision=1".to_owned()),
    }
}

/// A number of samples. More would run for days, and the nodes of as many steps take a square of it to find.
pub(super) fn samples(text: &str) -> Result<NonZeroUsize, String> {
    let samples = number(text)?;
    if samples.get() > 100_000 { Err("at most 100000".to_owned()) } else { Ok(samples) }
}

/// The standard deviation of noise, which may be 0.
pub(super) fn deviation(text: &str) -> Result<f32, String> {
    finite(text)
        .ok()
        .filter(|deviation| *deviation >= 0.0)
        .ok_or_else(|| "expected a number that is not negative, such as 0.15".to_owned())
}

/// A mean.
pub(super) fn finite(text: &str) -> Result<f32, String> {
    let number = text.trim().parse::<f32>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| "expected a finite number".to_owned())
}

/// A standard deviation.
pub(super) fn divisor(text: &str) -> Result<f32, String> {
    let number = finite(text).ok().filter(|number| *number != 0.0);
    number.ok_or_else(|| "expected a finite number that is not 0".to_owned())
}

pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// Bytes: a whole number with a unit of 1000 (kB, MB, …), of 1024 (KiB, MiB, … or K, M, …) or none.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "kb" => Some(1000),
        "mb" => Some(1000 * 1000),
        "gb" => Some(1000 * 1000 * 1000),
        "tb" => Some(1000 * 1000 * 1000 * 1000),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        "g" | "gib" => Some(1 << 30),
        "t" | "tib" => Some(1 << 40),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(n, unit)| n.checked_mul(unit));
    bytes.ok_or_else(|| "expected bytes such as 2GiB, 500MB or 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        super::super::definitions().debug_assert();
    }

    #[test]
    fn a_list_may_begin_with_a_negative_number() {
        let words = ["gradcam", "explain", "a.png", "--mean", "-1,0,.5", "--std", "2"];
        assert!(super::super::definitions().try_get_matches_from(words).is_ok());
    }

    #[test]
    fn bytes_with_units() {
        let rows = [
            ("0", Some(0)),
            ("17", Some(17)),
            ("2GiB", Some(2 << 30)),
            ("500MB", Some(500_000_000)),
            ("1 kB", Some(1000)),
            ("3g", Some(3 << 30)),
            ("", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("99999999999TiB", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(bytes(text).ok(), wanted, "{text}");
        }
    }

    #[test]
    fn sizes_and_factors() {
        assert_eq!(size("224"), Ok((224, 224)));
        assert_eq!(size("320x240"), Ok((320, 240)));
        for wrong in ["", "0", "x", "3x", "-3", "3x0", "1x2x3"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(grid("14x20"), Ok((14, 20)));
        for wrong in ["14", "0x3", "3x", "-1x3", "1x2x3", "99999999999x1"] {
            assert!(grid(wrong).is_err(), "{wrong}");
        }
        assert_eq!(factor("1/255"), Ok(1.0 / 255.0));
        for wrong in ["", "0", "1/0", "nan", "x/2"] {
            assert!(factor(wrong).is_err(), "{wrong}");
        }
    }
}
