//! Finds the folder of a set below the given folder, and the images in it that no list names.

use super::imagefolder::{is_image, list};
use super::items::Items;
use super::list::some;
use crate::{Error, Result};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The set's own folder: the first of `folders` below `root` (the empty one is `root` itself) that
/// contains `mark`. Each may be inside another folder of the same name, because some programs
/// unpack archives that way.
pub(super) fn home(root: &Path, folders: &[&str], mark: &str) -> Result<PathBuf> {
    let nested = folders.iter().filter(|folder| !folder.is_empty()).map(|folder| root.join(folder).join(folder));
    let mut places = folders.iter().map(|folder| root.join(folder)).chain(nested);
    places.find(|folder| stands(&folder.join(mark))).ok_or_else(|| {
        let places: Vec<String> =
            folders.iter().map(|folder| root.join(folder).join(mark).display().to_string()).collect();
        let why = format!("it does not contain the set: there is no {}", places.join(", and no "));
        Error::invalid(root.display(), why)
    })
}

/// Whether something with this name exists, a dangling link included: the reader reports what is
/// wrong with it.
pub(super) fn stands(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A folder of images, or the folder of the same name inside it, because some programs unpack that
/// way.
pub(super) fn inner(folder: &Path, name: &str) -> PathBuf {
    let outer = folder.join(name);
    Some(outer.join(name)).filter(|inner| inner.is_dir()).unwrap_or(outer)
}

/// Images in a folder that none of its lists names.
pub(super) struct Strays {
    folder: PathBuf,
    /// Relative to the folder.
    pub(super) names: Vec<String>,
}

impl Strays {
    /// Searches a folder and the folders in it.
    pub(super) fn find(folder: &Path, listed: &[&Items]) -> Result<Self> {
        let listed: HashSet<&String> = listed.iter().flat_map(|items| items.paths()).collect();
        let mut strays = Strays { folder: folder.into(), names: Vec::new() };
        for class in strays.look(folder, "", &listed)? {
            strays.look(&folder.join(&class), &format!("{class}/"), &listed)?;
        }
        Ok(strays)
    }

    /// Searches one folder; returns the folders in it.
    fn look(&mut self, folder: &Path, before: &str, listed: &HashSet<&String>) -> Result<Vec<String>> {
        let (files, folders) = list(folder)?;
        let images = files.iter().filter(|file| is_image(file) && !file.starts_with('.'));
        self.names.extend(images.map(|file| format!("{before}{file}")).filter(|path| !listed.contains(path)));
        Ok(folders)
    }

    /// The note about them, if there are any.
    pub(super) fn notes(&self) -> Option<String> {
        let Strays { folder, names } = self;
        let what = || format!("{} images in {} are in no list: {}", names.len(), folder.display(), some(names));
        (!names.is_empty()).then(what)
    }
}
