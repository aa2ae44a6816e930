//! Any set in the format of torchvision's `ImageFolder`: one folder per class, the classes in the
//! order of their names.
//!
//! ImageNet's class folders use the same [`walk`].

use super::{About, Found, Items, Listed, Metric, Options, Size};
use crate::{Error, Result};
use std::fs;
use std::path::Path;

/// Any images in class folders.
pub(super) const IMAGEFOLDER: About = About {
    name: "imagefolder",
    title: "any images in class folders",
    size: Size { classes: 0, fit: 0, test: 0 },
    metric: Metric::Accuracy,
    licence: "that of its images",
    home: "",
    layout: "
DIR/
  train/                      train images; may be missing
    CLASS/ANY/NAME.jpg        .jpg .jpeg .png .ppm .bmp .pgm .tif .tiff .webp, at any depth
  test/                       or val/, or validation/: test images
    CLASS/NAME.png            the same classes
  CLASS/NAME.png              without any of these folders: all images are test images",
    archives: &[],
    by_hand: "Put images of your own there.",
    copies: [0; 3],
    read,
};

/// torchvision's image extensions.
const EXTENSIONS: [&str; 9] = [".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"];

/// Names of the folder of the test split; the first that exists is used.
const TEST: [&str; 3] = ["test", "val", "validation"];

fn read(root: &Path, _: &Options) -> Result<Found> {
    let test = TEST.into_iter().map(|name| root.join(name)).find(|folder| folder.is_dir());
    let train = Some(root.join("train")).filter(|folder| folder.is_dir());
    let (test_folder, mut notes) = match (&test, &train) {
        (Some(test), _) => (test.as_path(), Vec::new()),
        (None, None) => {
            (root, vec!["everything is the test split: there is no folder `train`, nor `test`".to_string()])
        }
        (None, Some(_)) => {
            let why = "it has a folder `train`, but neither `test`, `val` nor `validation`";
            return Err(Error::invalid(root.display(), why));
        }
    };
    let more =
        TEST.into_iter().filter(|name| test.is_some() && root.join(name).is_dir() && root.join(name) != test_folder);
    notes.extend(
        more.map(|name| format!("the folder `{name}` is not read: the test split is in {}", test_folder.display())),
    );
    let labels = class_folders(test_folder)?;
    let fit = match train {
        Some(train) => {
            same_classes(&train, &labels, &format!("those of {}", test_folder.display()))?;
            Items::files(&train, walk(&train, &labels)?)?
        }
        None => Items::files(root, Vec::new())?,
    };
    let test = Items::files(test_folder, walk(test_folder, &labels)?)?;
    Ok(Found {
        labels,
        labels_in: test_folder.to_path_buf(),
        fit,
        test,
        published: Size::default(),
        named: false,
        differs: Vec::new(),
        notes,
    })
}

/// The class folders in a folder, in the order of their names.
pub(super) fn class_folders(folder: &Path) -> Result<Vec<String>> {
    let (_, folders) = list(folder)?;
    match folders.is_empty() {
        true => Err(Error::invalid(folder.display(), "it has no class folders")),
        false => Ok(folders),
    }
}

/// Refuses a folder whose class folders differ from `classes`; `whose` names their origin.
pub(super) fn same_classes(folder: &Path, classes: &[String], whose: &str) -> Result<()> {
    let found = class_folders(folder)?;
    let lacks = |some: &[String], others: &[String]| some.iter().find(|class| !others.contains(class)).cloned();
    let (more, less) = (lacks(&found, classes), lacks(classes, &found));
    let why = match (more, less) {
        (None, None) => return Ok(()),
        (Some(more), None) => format!("it has `{more}` besides"),
        (None, Some(less)) => format!("it lacks `{less}`"),
        (Some(more), Some(less)) => format!("it has `{more}` and lacks `{less}`"),
    };
    Err(Error::invalid(folder.display(), format!("its class folders are not {whose}: {why}")))
}

/// Every image below the class folders, in torchvision's order; the label is the index of the class
/// folder in `classes`.
///
/// # Errors
/// If a class folder is missing or has no image.
pub(super) fn walk(folder: &Path, classes: &[String]) -> Result<Vec<Listed>> {
    let mut items = Vec::new();
    for (class, label) in classes.iter().zip(0..) {
        let (before, mut folders) = (items.len(), Vec::new());
        descend(folder, class, 0, &mut folders)?;
        // Sorted by the names of the folders in the path, not by depth.
        folders.sort();
        for inner in folders {
            let (mut files, _) = list(&folder.join(&inner))?;
            files.retain(|file| is_image(file));
            let place = String::new;
            items.extend(files.iter().map(|file| Listed { path: format!("{inner}/{file}"), label, place: place() }));
        }
        if items.len() == before {
            return Err(Error::invalid(folder.join(class).display(), "it has no image"));
        }
    }
    Ok(items)
}

/// Links are followed, as in torchvision; a link to a parent folder would not end.
const DEEPEST: u32 = 32;

fn descend(folder: &Path, inner: &str, depth: u32, folders: &mut Vec<String>) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::invalid(
            folder.join(inner).display(),
            "it is nested too deep: does a link lead to a parent folder?",
        ));
    }
    folders.push(inner.to_string());
    for name in list(&folder.join(inner))?.1 {
        descend(folder, &format!("{inner}/{name}"), depth + 1, folders)?;
    }
    Ok(())
}

/// Names of files and of folders in a folder, sorted.
pub(super) fn list(folder: &Path) -> Result<(Vec<String>, Vec<String>)> {
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let entry = entry.map_err(Error::io(folder))?;
        let name = entry
            .file_name()
            .into_string()
            .map_err(|name| Error::invalid(folder.join(name).display(), "the name is not UTF-8"))?;
        let kind = entry.file_type().map_err(Error::io(entry.path()))?;
        let is_folder = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
        if is_folder { folders.push(name) } else { files.push(name) }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

pub(super) fn is_image(name: &str) -> bool {
    let name = name.to_lowercase();
    EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}
