//! The versions of what a package is built on, out of Cargo.lock. Part of two build scripts, of this crate and of core.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

/// The versions of all that a package is built on: what the package `of` needs in a Cargo.lock, and what that needs.
pub fn versions(lock: &Path, of: &str) -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(lock).unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
    let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
    let packages = table["package"].as_array().expect("a Cargo.lock lists packages");
    let text_of = |package: &toml::Value, key: &str| package.get(key).and_then(toml::Value::as_str).map(str::to_string);
    let mut versions = BTreeMap::<String, BTreeSet<String>>::new();
    let mut todo = VecDeque::from([of.to_string()]);
    while let Some(needed) = todo.pop_front() {
        // `NAME`, or `NAME VERSION` where there are several.
        let mut words = needed.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next());
        let is_it = |package: &&toml::Value| {
            text_of(package, "name").as_deref() == Some(name)
                && version.is_none_or(|version| text_of(package, "version").as_deref() == Some(version))
        };
        let package = packages.iter().find(is_it).unwrap_or_else(|| panic!("{}: {needed} is missing", lock.display()));
        let version = text_of(package, "version").expect("every package has a version");
        if versions.entry(name.to_string()).or_default().insert(version) {
            let inner = package.get("dependencies").and_then(toml::Value::as_array).into_iter().flatten();
            todo.extend(inner.filter_map(toml::Value::as_str).map(str::to_string));
        }
    }
    versions
}

/// Name and versions of a crate.
pub fn line(versions: &BTreeMap<String, BTreeSet<String>>, name: &str, lock: &Path) -> String {
    let found = versions.get(name).unwrap_or_else(|| panic!("{}: nothing here is built on {name}", lock.display()));
    format!("{name} {}", found.iter().map(String::as_str).collect::<Vec<_>>().join(" and "))
}
