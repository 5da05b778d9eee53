//! The picture of a graph: boxes that do not touch, names that stay text, and tags that close.

use serde_json::Value;
use testkit::Suite;

use crate::{
    models::{Net, classifier, conv},
    run::Folder,
};

pub(crate) fn tests(suite: &mut Suite) {
    testkit::tests!(suite, each_node_has_a_box, names_stay_text,);
}

/// The picture of `m.onnx`, once as a file and once on standard output.
fn picture(folder: &Folder) -> String {
    let ran = folder.gradcam(&["inspect", "m.onnx", "--svg", "way.svg"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let svg = String::from_utf8(folder.read("way.svg")).expect("UTF-8");
    let ran = folder.gradcam(&["inspect", "m.onnx", "--svg", "-"]);
    assert_eq!(String::from_utf8_lossy(&ran.stdout), svg);
    closes(&svg);
    svg
}

/// Every tag is closed by its own name, and nothing stands behind the picture.
fn closes(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let (before, rest) = svg.split_once('<').expect("a tag");
    assert_eq!(before, "");
    for part in rest.split('<') {
        let (tag, text) = part.split_once('>').expect("the end of a tag");
        assert!(!text.contains('>'), "{part}");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, false) => open.push(name),
            (false, true) => {}
        }
        assert!(!open.is_empty() || text == "\n", "{part}");
    }
    assert!(open.is_empty(), "{open:?}");
}

/// The number that an attribute of a tag has.
fn number(tag: &str, name: &str) -> f64 {
    let (_, rest) = tag.split_once(&format!(" {name}=\"")).expect(name);
    rest.split('"').next().expect("a value").parse().expect("a number")
}

fn each_node_has_a_box() {
    let folder = Folder::new();
    folder.write("m.onnx", classifier());
    let svg = picture(&folder);
    let ran = folder.gradcam(&["inspect", "m.onnx", "--json"]);
    let said: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let nodes = said["nodes"].as_array().expect("nodes");
    for (class, key) in [("own", "path"), ("new", "explanation")] {
        let wanted = nodes.iter().filter(|node| node[key] == true).count();
        // One more is in the legend.
        let found = svg.matches(&format!("<rect class=\"{class}\"")).count() - 1;
        assert_eq!(found, wanted, "{class}");
        for node in nodes.iter().filter(|node| node[key] == true) {
            let title = format!("<title>{}\n", node["name"].as_str().expect("a name"));
            assert_eq!(svg.matches(&title).count(), 1, "{title}");
        }
    }
    let (width, height) = (number(&svg, "width"), number(&svg, "height"));
    let sides = |part: &str| {
        let (x, y) = (number(part, "x"), number(part, "y"));
        [x, x + number(part, "width"), y, y + number(part, "height")]
    };
    let boxes: Vec<[f64; 4]> = svg.split("<rect").skip(3).map(sides).collect();
    for (at, [left, right, top, bottom]) in boxes.iter().enumerate() {
        assert!(*left >= 0.0 && *right <= width && *top >= 60.0 && *bottom <= height);
        let touches = |other: &&[f64; 4]| {
            left < &other[1] && &other[0] < right && top < &other[3] && &other[2] < bottom
        };
        assert_eq!(boxes[at + 1..].iter().find(touches), None, "box {at}");
    }
    // The score goes to four readers of the explanation, and the layer to one.
    assert!(svg.matches("<path class=\"reads\"").count() > 1);
    assert!(svg.contains("prefers-color-scheme: dark"));
}

fn names_stay_text() {
    let folder = Folder::new();
    let name = "a<b>&\"c\"\u{1}]]>";
    let net = Net::new(&[1, 3, 8, 8]).weight("w", &[4, 3, 3, 3]);
    let net = net.node("Conv", &["x", "w"], "conv", &conv(1));
    folder.write("m.onnx", net.node("Relu", &["conv"], name, &[]).head(name));
    let svg = picture(&folder);
    assert!(svg.contains("/a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}]]&gt;/Relu"), "{svg}");
    assert!(!svg.contains("<b>") && !svg.contains('\u{1}'), "{svg}");
}
