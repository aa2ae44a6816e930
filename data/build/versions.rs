//! Reads the versions of a package's dependencies from Cargo.lock. Part of two build scripts: this
//! crate's and core's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

/// The versions of all direct and indirect dependencies of the package `of` in a Cargo.lock.
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

/// The name and the versions of a crate.
pub fn line(versions: &BTreeMap<String, BTreeSet<String>>, name: &str, lock: &Path) -> String {
    let found = versions.get(name).unwrap_or_else(|| panic!("{}: nothing here is built on {name}", lock.display()));
    format!("{name} {}", found.iter().map(String::as_str).collect::<Vec<_>>().join(" and "))
}
