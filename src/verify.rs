//! `gauntlet verify`: reads every stored file that has a hash, and compares both.

use crate::bars::Bar;
use crate::exit::Exit;
use crate::say;
use crate::store::size;
use clap::Args;
use gauntlet::data::canvas::check_all;
use gauntlet::data::files::{SUMS, Sums, check_safetensors};
use gauntlet::poison::Poison;
use gauntlet::{Error, Progress, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Checks stored files.
#[derive(Args)]
#[command(after_help = "\
Reads all of it: the files of indexes, canvases, poison, undefended models and finished trials against their sums.json, every canvas and
every safetensors file against its own hash, and poison against its digest. Nothing is changed, and no data is needed.

Exit code: 0 if nothing is damaged, 1 if something is (a line names each file and the remedy). What was written without hashes, by an
earlier version, is counted as unchecked.")]
pub struct Verify {
    /// Folder given to `run` as --out, a store (--store), or the folder of a trial
    folder: PathBuf,
}

/// Something to check, and its size in bytes.
struct Item {
    path: PathBuf,
    kind: Kind,
    bytes: u64,
}

enum Kind {
    /// A folder with `sums.json`.
    Folder,
    /// A folder of poison: its sums, its pixels and its digest.
    Poison,
    /// The pixels of a folder of canvases.
    Canvases,
    /// A safetensors file without a sum.
    Tensors,
    /// Written without hashes.
    Unchecked,
}

impl Verify {
    /// Prints a line for each damaged file, and a summary.
    pub fn run(self) -> Result<Exit> {
        let (clock, bar) = (Instant::now(), Bar::new());
        let items = find(&self.folder)?;
        if items.is_empty() {
            let why = "holds nothing to check: name the folder of a run, a store, or a finished trial";
            return Err(Error::invalid(self.folder.display(), why));
        }
        let (all, mut done) = (items.iter().map(|item| item.bytes).sum(), 0);
        let (mut damaged, mut unchecked) = (0, 0);
        for item in &items {
            bar.report("verify", done, all, &item.path.file_name().unwrap_or_default().to_string_lossy());
            let (found, hashed) = item.check(&bar)?;
            found.iter().for_each(|error| bar.aside(|| say(&format!("damaged: {error}\n"))));
            (damaged, unchecked, done) = (damaged + found.len(), unchecked + usize::from(!hashed), done + item.bytes);
            if bar.stopped() {
                return Err(Error::Interrupted);
            }
        }
        drop(bar);
        let (count, bytes) = (items.len() - unchecked, size(all));
        let seconds = clock.elapsed().as_secs_f64();
        say(&format!("{count} items checked, {bytes}, in {seconds:.1} s: {damaged} damaged, {unchecked} unchecked\n"));
        Ok(if damaged == 0 { Exit::Done } else { Exit::Failed })
    }
}

impl Item {
    /// What is damaged in it, and whether it has a hash at all.
    fn check(&self, bar: &Bar) -> Result<(Vec<String>, bool)> {
        let (path, mut found, mut hashed) = (&self.path, Vec::new(), true);
        let checked = match self.kind {
            Kind::Unchecked => return Ok((found, false)),
            Kind::Poison => {
                found.extend(check_folder(path));
                found.extend(check_safetensors(&path.join("pixels.safetensors")).err().map(|error| error.chain()));
                // The digest covers what is damaged already.
                if found.is_empty() { Poison::check_stored(path) } else { Ok(()) }
            }
            Kind::Canvases => check_all(path, bar, |error| found.push(error.chain())),
            Kind::Tensors => check_safetensors(path).map(|has| hashed = has),
            Kind::Folder => {
                found.extend(check_folder(path));
                Ok(())
            }
        };
        match checked {
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            checked => found.extend(checked.err().map(|error| error.chain())),
        }
        Ok((found, hashed))
    }
}

/// What is damaged of the files that have a sum.
fn check_folder(path: &Path) -> Vec<String> {
    match Sums::read(path) {
        Err(error) => vec![error.chain()],
        Ok(sums) => {
            let errors = sums.0.keys().filter_map(|name| sums.check(path, name).err());
            errors.map(|error| error.chain()).collect()
        }
    }
}

/// Everything to check in a folder and those in it, by path.
fn find(folder: &Path) -> Result<Vec<Item>> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(Error::io(entry.path()))?);
        // Hidden ones are unfinished, leases are named after entries, and links lead elsewhere.
        match entry.file_name().as_encoded_bytes() {
            [b'.', ..] | b"leases" => {}
            _ if kind.is_dir() => folders.push(path),
            _ if kind.is_file() => files.push((path, entry.metadata().map_err(Error::io(entry.path()))?.len())),
            _ => {}
        }
    }
    let mut items = own(folder, &files);
    folders.sort();
    for inner in folders {
        items.extend(find(&inner)?);
    }
    Ok(items)
}

/// What is to check in a folder with these files.
fn own(folder: &Path, files: &[(PathBuf, u64)]) -> Vec<Item> {
    let path = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let has = |name: &str| files.iter().any(|(path, _)| path.ends_with(name));
    let item = |kind, bytes| Item { path: folder.to_path_buf(), kind, bytes };
    let all = files.iter().map(|(_, bytes)| bytes).sum();
    let (mut items, mut sums) = (Vec::new(), Sums::default());
    // A trial that was started over has the sums of the results before.
    if has(SUMS) && (has("scores.jsonl") || !has("trial.json")) {
        if name.starts_with("poison-") {
            return vec![item(Kind::Poison, all)];
        }
        // Damaged sums are found again when they are checked.
        sums = Sums::read(folder).unwrap_or_default();
        items.push(item(Kind::Folder, sums.0.values().map(|sum| sum.bytes).sum()));
        if name.starts_with("canvas-") {
            items.push(item(Kind::Canvases, all));
        }
    } else if ["index-", "canvas-", "poison-"].iter().any(|kind| name.starts_with(kind)) || has("scores.jsonl") {
        items.push(item(Kind::Unchecked, 0));
    }
    for (path, bytes) in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".safetensors") && !sums.0.contains_key(&*name) {
            items.push(Item { path: path.clone(), kind: Kind::Tensors, bytes: *bytes });
        }
    }
    items
}
