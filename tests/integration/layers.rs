//! Dependencies have one direction: within a crate the order of the modules in lib.rs is the order
//! of dependence, and no `use` refers to a later module. Between crates the compiler enforces it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates whose modules have an order.
const ORDERED: [&str; 3] = ["data", "core", "report"];

#[test]
fn no_module_uses_one_below_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut uses_seen, mut wrong) = (0, Vec::new());
    for name in ORDERED {
        let source = root.join(name).join("src");
        let order = Order::read(&fs::read_to_string(source.join("lib.rs")).unwrap());
        for file in rust_files(&source) {
            let relative = file.strip_prefix(&source).unwrap().with_extension("");
            let own: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
            let Some(place) = order.place(own[0]) else { continue };
            for path in paths(&without_tests(&fs::read_to_string(&file).unwrap()), &own) {
                uses_seen += 1;
                if order.place_of(&path).is_some_and(|used| used > place) {
                    wrong.push(format!("{name}: {} uses crate::{}", relative.display(), path.join("::")));
                }
            }
        }
    }
    assert!(uses_seen > 500, "only {uses_seen} uses were found");
    assert!(wrong.is_empty(), "{} uses point down:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn uses_are_found_in_every_form() {
    let order =
        Order::read("pub mod low;\n#[cfg(test)]\nmod sample;\nmod high;\n\npub use high::{Tall, taller as t};\n");
    let text =
        "use crate::{low, high::{A, b::C}};\nuse super::high::D;\nfn f() { crate::low::go(); }\n// crate::high\n";
    let found: Vec<String> = paths(text, &["low"]).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["low", "high::A", "high::b::C", "high::D", "low::go"]);
    let place = |name: &str| order.place_of(&[name.to_string()]);
    assert_eq!(
        (place("low"), place("high"), place("Tall"), place("t"), place("Other")),
        (Some(0), Some(2), Some(2), Some(2), None)
    );
}

/// The modules of a crate, and what its root re-exports of them.
struct Order {
    modules: Vec<String>,
    exported: BTreeMap<String, String>,
}

impl Order {
    fn read(lib: &str) -> Order {
        let module =
            |line: &str| Some(line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';')?.to_string());
        let mut exported = BTreeMap::new();
        for statement in statements(lib, "pub use ") {
            for path in expand(&statement) {
                let (module, name) = (path.split("::").next().unwrap(), path.rsplit([':', ' ']).next().unwrap());
                exported.insert(name.to_string(), module.to_string());
            }
        }
        Order { modules: lib.lines().filter_map(module).collect(), exported }
    }

    fn place(&self, module: &str) -> Option<usize> {
        self.modules.iter().position(|known| known == module)
    }

    /// `None` for a name from another crate.
    fn place_of(&self, path: &[String]) -> Option<usize> {
        self.place(&path[0]).or_else(|| self.place(self.exported.get(&path[0])?))
    }
}

/// Every name of its own crate that a file uses, as a path from the crate's root.
fn paths(text: &str, own: &[&str]) -> Vec<Vec<String>> {
    let code: String = text.lines().map(|line| line.split("//").next().unwrap().to_string() + "\n").collect();
    let used = statements(&code, "use ").into_iter().flat_map(|statement| expand(&statement));
    let inline =
        code.match_indices("crate::").filter(|(at, _)| is_inline(&code[..*at])).map(|(at, _)| path_at(&code[at..]));
    used.chain(inline).filter_map(|path| from_root(&path, own)).collect()
}

/// Whether a path that begins here is used at this place: not in a `use`, and not in a macro that
/// is expanded elsewhere.
fn is_inline(before: &str) -> bool {
    !before.ends_with('$') && !before.rsplit([';', '}', '{', '\n']).next().unwrap().contains("use ")
}

fn path_at(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
        .collect::<String>()
        .trim_end_matches(':')
        .to_string()
}

/// `super::` and `crate::` resolved; `None` for a path into another crate, or one that stays within
/// its own module.
fn from_root(path: &str, own: &[&str]) -> Option<Vec<String>> {
    let parts: Vec<String> = path.split("::").map(|part| part.split(' ').next().unwrap().to_string()).collect();
    let ups = parts.iter().take_while(|part| *part == "super").count();
    let rest = match parts[0].as_str() {
        "crate" => &parts[1..],
        "super" if ups >= own.len() => &parts[ups..],
        _ => return None,
    };
    (!rest.is_empty() && rest[0] != "self" && rest[0] != "*").then(|| rest.to_vec())
}

/// The text after `keyword` up to the semicolon, wherever a line starts with it.
fn statements(text: &str, keyword: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(keyword) {
        let line = text[..at].rsplit('\n').next().unwrap().trim();
        if line.is_empty() || (line.starts_with("pub") && keyword == "use ") {
            let end = text[at..].find(';').map_or(text.len(), |end| at + end);
            found.push(text[at + keyword.len()..end].split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`.
fn expand(path: &str) -> Vec<String> {
    let path = path.trim();
    let Some(open) = path.find('{') else { return if path.is_empty() { Vec::new() } else { vec![path.to_string()] } };
    let (before, mut depth, mut part, mut all) = (&path[..open], 0, String::new(), Vec::new());
    for c in path[open + 1..].chars() {
        match c {
            ',' | '}' if depth == 0 => {
                all.extend(expand(&std::mem::take(&mut part)).into_iter().map(|inner| format!("{before}{inner}")))
            }
            c => {
                depth += i32::from(c == '{') - i32::from(c == '}');
                part.push(c);
            }
        }
    }
    all
}

/// A file without its tests, which may use anything.
fn without_tests(text: &str) -> String {
    text.split("\nmod tests {").next().unwrap().to_string()
}

/// The files of a folder and its subfolders, except those that belong only to tests.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let parent = fs::read_to_string(folder.with_extension("rs")).or_else(|_| fs::read_to_string(folder.join("lib.rs")));
    let parent = parent.unwrap();
    let is_test = |path: &Path| {
        let declared = format!("\nmod {};", path.file_stem().unwrap().to_str().unwrap());
        let before = parent.split(&declared).next().unwrap();
        before.len() < parent.len()
            && before.lines().rev().take_while(|line| line.starts_with("#[")).any(|line| line == "#[cfg(test)]")
    };
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.filter(|path| !is_test(path)).partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let inner = folders.iter().filter(|folder| folder.with_extension("rs").is_file());
    files.chain(inner.flat_map(|folder| rust_files(folder))).collect()
}
