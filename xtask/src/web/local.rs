//! The page as one classic script, for a page that is opened as a file: there browsers refuse modules, workers by address and
//! requests, so the script has all modules as functions, and the files of the folder as text.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// The script that is written.
pub(super) const SCRIPT: &str = "local.js";
/// The module of the page that is replaced: it gives the files of the folder, and the worker.
const ASSETS: &str = "assets.js";

/// Writes the script into the folder of the page. `files` are those that the page and its worker ask for.
pub(super) fn write(page: &Path, files: &[&str]) -> Result<()> {
    let mut worker = Bundle::default();
    worker.add(page, "worker.js")?;
    let mut script = "\"use strict\";\n(() => {\n".to_owned();
    writeln!(script, "const worker = {};", serde_json::to_string(&worker.script())?)?;
    writeln!(script, "const files = {{")?;
    for file in files {
        let bytes = fs::read(page.join(file)).with_context(|| (*file).to_owned())?;
        writeln!(script, "  {file:?}: {:?},", BASE64_STANDARD.encode(bytes))?;
    }
    script += "};\n";
    let mut bundle = Bundle::default();
    bundle.add_text(ASSETS, LOCAL_ASSETS, page)?;
    bundle.add(page, "app.js")?;
    script += &bundle.script();
    script += "})();\n";
    fs::write(page.join(SCRIPT), script)?;
    Ok(())
}

/// What stands for `assets.js`.
const LOCAL_ASSETS: &str = r#"
const address = (bytes, type) => URL.createObjectURL(new Blob([bytes], { type }));
const bytes = (name) => Uint8Array.from(atob(files[name]), (one) => one.charCodeAt(0));
export const file = async (name) => new Blob([bytes(name)]);
export const startWorker = () => new Worker(address(worker, "text/javascript"));
export const wasm = () => new Blob([bytes("gradcam_web_bg.wasm")]);
"#;

/// Modules as functions, each after those that it imports.
#[derive(Default)]
struct Bundle {
    added: BTreeSet<String>,
    functions: String,
}

impl Bundle {
    fn add(&mut self, folder: &Path, name: &str) -> Result<()> {
        if self.added.contains(name) {
            return Ok(());
        }
        let text = fs::read_to_string(folder.join(name)).with_context(|| name.to_owned())?;
        self.add_text(name, &text, folder)
    }

    fn add_text(&mut self, name: &str, text: &str, folder: &Path) -> Result<()> {
        self.added.insert(name.to_owned());
        let module = Module::read(text).with_context(|| name.to_owned())?;
        for import in &module.imports {
            self.add(folder, import)?;
        }
        let exports = module.exports.join(", ");
        write!(
            self.functions,
            "modules[{name:?}] = (() => {{\n{}\nreturn {{ {exports} }};\n}})();\n",
            module.body
        )?;
        Ok(())
    }

    fn script(&self) -> String {
        format!("const modules = {{}};\n{}", self.functions)
    }
}

/// A module as the body of a function.
struct Module {
    body: String,
    imports: Vec<String>,
    /// `name` or `default: name`.
    exports: Vec<String>,
}

impl Module {
    fn read(text: &str) -> Result<Self> {
        let mut module = Self { body: String::new(), imports: Vec::new(), exports: Vec::new() };
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("import ") || line.starts_with("export {") {
                let mut statement = line.to_owned();
                while !statement.trim_end().ends_with(';') {
                    statement += lines.next().context("a statement without an end")?;
                }
                module.statement(&statement)?;
            } else if let Some(declared) = line.strip_prefix("export ") {
                module.exports.push(declared_name(declared)?.to_owned());
                module.push(declared);
            } else {
                module.push(line);
            }
        }
        Ok(module)
    }

    /// A line of the body. A script has no address to resolve others against.
    fn push(&mut self, line: &str) {
        self.body += &line.replace("import.meta.url", "undefined");
        self.body.push('\n');
    }

    /// `import name, { a, b as c } from "./file.js";` or `export { a, b as default };`
    fn statement(&mut self, statement: &str) -> Result<()> {
        let (names, path) = match statement.split_once(" from ") {
            Some((names, path)) => (names, Some(path)),
            None => (statement.trim_end().trim_end_matches(';'), None),
        };
        let (before, listed) = match names.split_once('{') {
            Some((before, listed)) => (before, listed.trim_end().trim_end_matches('}')),
            None => (names, ""),
        };
        let listed = listed.split(',').map(str::trim).filter(|name| !name.is_empty());
        let Some(path) = path else {
            self.exports.extend(listed.map(|name| match name.split_once(" as ") {
                Some((name, shown)) => format!("{shown}: {name}"),
                None => name.to_owned(),
            }));
            return Ok(());
        };
        let file = path.trim_matches([' ', '"', ';']).strip_prefix("./");
        let file = file.with_context(|| format!("{path} is no module of the page"))?;
        let default = before.trim_start_matches("import").trim_matches([' ', ',']);
        let default = (!default.is_empty()).then(|| format!("default: {default}"));
        let renamed = listed.map(|name| name.replace(" as ", ": "));
        let names: Vec<String> = default.into_iter().chain(renamed).collect();
        self.push(&format!("const {{ {} }} = modules[{file:?}];", names.join(", ")));
        self.imports.push(file.to_owned());
        Ok(())
    }
}

/// The name that a declaration declares.
fn declared_name(declaration: &str) -> Result<&str> {
    let is_keyword = |word: &str| matches!(word, "async" | "class" | "const" | "function");
    let mut words = declaration.split([' ', '(', '=', '{']).filter(|word| !word.is_empty());
    if !words.next().is_some_and(is_keyword) {
        bail!("`export {declaration}` is not understood");
    }
    let name = words.find(|word| !is_keyword(word));
    name.with_context(|| format!("`{declaration}` declares nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_the_body_of_a_function() {
        let module = Module::read(
            "import init, { Session } from \"./gradcam_web.js\";\nimport {\n  a,\n  b as c,\n} from \"./b.js\";\n\n\
             export class Engine extends Base {\n  at = import.meta.url;\n}\nexport async function run(x) {}\n\
             export const most = 3;\nexport { hidden, init as default };\n",
        )
        .unwrap();
        assert_eq!(module.imports, ["gradcam_web.js", "b.js"]);
        assert_eq!(module.exports, ["Engine", "run", "most", "hidden", "default: init"]);
        assert_eq!(
            module.body,
            "const { default: init, Session } = modules[\"gradcam_web.js\"];\n\
             const { a, b: c } = modules[\"b.js\"];\n\nclass Engine extends Base {\n  at = undefined;\n}\n\
             async function run(x) {}\nconst most = 3;\n"
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        assert!(Module::read("export default 3;\n").is_err());
        assert!(Module::read("import { a } from \"package\";\n").is_err());
        assert!(Module::read("import { a }\n").is_err());
    }
}
