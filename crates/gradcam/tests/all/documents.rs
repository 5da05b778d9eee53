//! The documents that are generated from tables of the code, so that they cannot drift from it: `cargo xtask docs`
//! writes them, the test compares them.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use gradcam::{
    METHODS,
    engine::{ENGINES, EngineInfo, REFUSED_FORMS, support},
};
use onnx_grad::Gradient;
use testkit::Suite;

use crate::method_matrix::{CONCEPT_REFUSALS, KINDS, WITHOUT_CLASSES, refusal};

type Document = (&'static str, fn() -> String);

const DOCUMENTS: &[Document] = &[("docs/operators.md", operators), ("docs/methods.md", methods)];

fn generated_documents_are_up_to_date() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, text) in DOCUMENTS {
        let (file, text) = (root.join(path), text());
        if env::var_os("GRADCAM_WRITE_DOCUMENTS").is_some() {
            fs::write(&file, text).unwrap_or_else(|e| panic!("{path}: {e}"));
            continue;
        }
        let old = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{path}: {e}"));
        assert!(old.lines().eq(text.lines()), "{path} is out of date; run `cargo xtask docs`");
    }
}

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(suite, generated_documents_are_up_to_date,);
}

/// The methods, from their table; what is refused, from the test of all methods with all kinds of models.
fn methods() -> String {
    let mut text = "<!-- Written by `cargo xtask docs` from the table in crates/gradcam/src/method/table.rs and the refusals in \
         crates/gradcam/tests/all/method_matrix.rs. -->\n\
         # Methods\n\
         \n\
         `--method` takes the names on the left, and several of them. A is the activation of the layer, [K, positions], g the \
         gradient of the target's score with respect to it, w the channel weights; the map is signed, before relu. Methods \
         of the input take no layer: there A is the network's input.\n\
         \n\
         The numbers of each method of pytorch-grad-cam are compared with it in float64 (`tools/method_cases.py`). The signs of \
         eigencam and eigengradcam, which are arbitrary there, are fixed here: the entry of the largest magnitude is positive. \
         refinecam is gradcam++ with `--fuse product`, which multiplies the heatmaps of any other method too.\n\
         \n\
         *inferences*: the time of an explanation over that of a prediction, measured at the last stage of ResNet-50 \
         ([performance.md](performance.md#the-methods)); `gradcam bench MODEL --method METHOD` measures it for your model.\n\
         \n\
         | method | map | what it is good for | inferences | published |\n\
         |---|---|---|---|---|\n"
        .to_owned();
    // Writing to a string cannot fail.
    for row in METHODS {
        let formula = row.formula.replace('|', "\\|");
        let (id, name, use_for, paper) = (row.id, row.name, row.use_for, row.paper);
        let cost = row.inferences().expect("compare.py --family measures every method");
        let _ = writeln!(text, "| `{id}`<br>{name} | {formula} | {use_for} | {cost} | {paper} |");
    }
    text += "\n\
         ## The same photo\n\
         \n\
         The map for \"Egyptian cat\" by each method, with the built-in model at its default layer. At this layer, which a global \
         pooling follows, several methods agree by their formulas; eigencam, kpcacam and fem explain no class and show what \
         the network sees most of.\n\
         \n\
         ![A photo of a cat above a cup of coffee, and the map of each method](images/methods.jpg)\n\
         \n\
         `gradcam compare cat_over_coffee.png --target 'Egyptian cat' --method gradcam,hirescam,… --dpi 150 --cell 22` draws it, \
         in three sheets.\n\
         \n\
         ## With which models\n\
         \n\
         *yes*: the method gives a map at the default layer; of a batch that of each image alone. Else it is refused, with \
         these words. A test runs each pair.\n\
         \n";
    let kinds: String = KINDS.iter().map(|kind| format!(" {kind} |")).collect();
    let _ = writeln!(text, "| method |{kinds}\n|{}", "---|".repeat(1 + KINDS.len()));
    for row in METHODS {
        let each = KINDS.iter().map(|kind| refusal(row.id, kind).unwrap_or("yes"));
        let cells: String = each.map(|cell| format!(" {cell} |")).collect();
        let _ = writeln!(text, "| `{}` |{cells}", row.id);
    }
    text += CONCEPTS;
    let _ = writeln!(text, "| |{kinds}\n|{}", "---|".repeat(1 + KINDS.len()));
    let said = |rows: &[(&str, &'static str)], kind: &str| {
        rows.iter().find(|row| row.0 == kind).map_or("yes", |row| row.1)
    };
    let maps: String =
        KINDS.iter().map(|kind| format!(" {} |", said(CONCEPT_REFUSALS, kind))).collect();
    let classes: String = KINDS
        .iter()
        .map(|kind| match said(CONCEPT_REFUSALS, kind) {
            "yes" => format!(" {} |", said(WITHOUT_CLASSES, kind)),
            _ => " |".to_owned(),
        })
        .collect();
    let _ = writeln!(text, "| maps |{maps}\n| classes |{classes}");
    text
}

/// What holds for concepts, which no row of the table says.
const CONCEPTS: &str = "\n## Concepts\n\
\n\
Deep feature factorization (`dff` in pytorch-grad-cam; Collins et al. 2018, arXiv:1806.10206) takes no target: it says what a \
layer is made of. A layer has several maps then, one for each concept, so it is a command and a function of its own: `gradcam \
concepts`, `Explainer::concepts`.\n\
\n\
![A photo of a cat above a cup of coffee in five colors, and the classes of each color](images/concepts.jpg)\n\
\n\
`gradcam concepts cat_over_coffee.png`: red is the cat's face, yellow the coffee.\n\
\n\
X is the activation, channels by positions, of all images together, less the least value of each channel. X ≈ W·H, \
both without negative entries, by the coordinate descent of scikit-learn, which pytorch-grad-cam takes, with its bounds (200 \
sweeps, 1e-4). The start is scikit-learn's `nndsvda`, which follows from the singular vectors: the same images have the same concepts \
in each run. With five concepts, on photos, what they left out was that of the best of three random starts, to 1e-4. \
pytorch-grad-cam starts from random numbers (`init=\"random\", random_state=0`), so its concepts may be others. The tests compare every number with \
pytorch-grad-cam from this start (`tools/concept_cases.py`), and the factors also from scikit-learn's random numbers.\n\
\n\
- A row of H, over its largest entry, is the raw map of a concept; normalized and resized, its heatmap.\n\
- A column of W, times that entry, with what was subtracted, is the concept as an activation: that at the place where it is \
strongest, without the other concepts.\n\
- The classes of a concept are those of the network behind the layer where all positions hold it, a class token \
too. In front of a global pooling \
that is the classifier on the concept, `computation_on_concepts` of pytorch-grad-cam, which leaves the concept's length open.\n\
- The share of a concept is the sum of its part of W·H over that of all. Concepts are in the order of their shares in all images.\n\
- In pictures each place has the color of the largest heatmap, as bright as this, as `show_factorization_on_image`.\n\
\n";

/// The operators: gradients from the table of rules, engines from the tables that compile graphs.
fn operators() -> String {
    let mut text = format!(
        "<!-- Written by `cargo xtask docs` from the table in crates/onnx-grad/src/grad/table.rs \
         and those of the engines in crates/gradcam-engine/src/. -->\n\
         # Operators\n\
         \n\
         Every operator of the ONNX standard, for models of opset {} to {}.\n\
         \n\
         *Gradient*: by a *rule*; by way of the operator's *definition* in others; *zero* \
         everywhere, so that the gradient stops there; or *refused*, with an error before anything \
         runs, but only where the operator stands between the layer and the class score. *Engines*: \
         an operator runs *as it is*; some or all of its forms are *rewritten* in other operators; \
         or there is *no* way to run it. What is refused of an operator that otherwise works stands \
         in the words of the error, with … for what differs.\n\
         \n\
         Any operator may be refused with:\n\n",
        onnx_grad::OLDEST_OPSET,
        onnx_grad::NEWEST_OPSET,
    );
    // Writing to a string cannot fail.
    for form in onnx_grad::REFUSED_FORMS.iter().chain(REFUSED_FORMS) {
        let _ = writeln!(text, "- {form}");
    }
    let engines: String = ENGINES.iter().map(|info| format!(" {} |", info.name())).collect();
    let lines = "---|".repeat(3 + ENGINES.len());
    let _ = writeln!(text, "\n| operator | opsets | gradient |{engines}\n|{lines}");
    for rule in onnx_grad::rules() {
        let (op, (from, to)) = (rule.op, rule.opsets);
        let link = match op {
            "SimplifiedLayerNormalization" => op.to_owned(),
            _ => format!("[{op}](https://onnx.ai/onnx/operators/onnx__{op}.html)"),
        };
        let gradient = match rule.gradient {
            Gradient::Rule => "rule".to_owned(),
            Gradient::Definition => "definition".to_owned(),
            Gradient::Zero => "zero".to_owned(),
            Gradient::Refused(why) => format!("refused: {why}"),
            _ => "other".to_owned(),
        };
        let refuses: Vec<String> = rule.refuses.iter().map(|&form| form.to_owned()).collect();
        let gradient = cell(&gradient, &refuses);
        let engine = |info: &EngineInfo| {
            let support = support(info.kind, op);
            let how = match (support.runs, support.rewritten) {
                (false, _) => "no",
                (true, true) => "rewritten",
                (true, false) => "as it is",
            };
            format!(" {} |", cell(how, if support.runs { &support.refuses } else { &[] }))
        };
        let engines: String = ENGINES.iter().map(engine).collect();
        let _ = writeln!(text, "| {link} | {from}–{to} | {gradient} |{engines}");
    }
    text += "\nOperators of the domain `com.microsoft` that are rewritten in words of the standard, for \
             gradients and for both engines: ";
    text += &onnx_grad::MICROSOFT.join(", ");
    text += ". Other operators of other domains are refused.\n";
    text += INTEGERS;
    text
}

/// What holds for products of 8-bit integers, which no row says.
const INTEGERS: &str = "\n## Quantized models on processors that saturate\n\
\n\
On x86 processors with AVX2 and without VNNI (Intel before Cascade Lake and Ice Lake, AMD before Zen 4) the fast \
kernels of both engines multiply u8 by i8 with `vpmaddubsw`, which adds pairs of products in 16 bits: 255·127 + 255·127 \
becomes 32,767. Scores and maps are then wrong without a word. gradcam gives such kernels only numbers that they \
compute exactly, so that a file has the same scores on every processor:\n\
\n\
* ONNX Runtime: signed weights and activations become unsigned, x + 128 with the zero point z + 128, and the kernel for \
u8·u8 adds in 32 bits. Nothing is changed on processors with VNNI, nor for execution providers other than the processor.\n\
* rten: MatMulInteger and ConvInteger become products of float32, which is exact for whole numbers up to 2²⁴; longer \
sums are cut into blocks that are added as integers. Models of QuantizeLinear and DequantizeLinear run in float32 anyway.\n\
\n\
**A program of yours that runs the file in ONNX Runtime saturates there all the same**, and then shows other scores \
than gradcam, which shows those that the file says. The warning `saturating-kernels` says so where it can happen: on such a \
processor, on ONNX Runtime, for a file with signed weights outside −64…64. `gradcam explain --verbose` says by how much for \
each image, `gradcam bench` for its example. What helps:\n\
\n\
* quantize with `reduce_range=True`, which keeps weights within 7 bits, or with `weight_type=QuantType.QUInt8`;\n\
* set the session entry `session.x64quantprecision` to `1` (`SessionOptions.add_session_config_entry`), with which ONNX \
Runtime takes unsigned weights itself. ONNX Runtime 1.32 fails to load a file in which two nodes read one weight with \
it. A program that sets it has the scores of gradcam; `--session-config session.x64quantprecision=1` says that yours \
does.\n";

/// A word, and behind it what is refused.
fn cell(word: &str, refuses: &[String]) -> String {
    let refuses = refuses.iter().map(|form| format!("<br>refused: {form}"));
    let text: String = std::iter::once(word.to_owned()).chain(refuses).collect();
    text.replace('|', "\\|")
}
