//! Poison that was made elsewhere: a folder of stamped training images with captions, and of
//! stamped test images. Use it to measure attacks whose trigger needs its own network (ISSBA, BLTO)
//! and any other attack that is published as images.
//!
//! `FOLDER/train.csv` has the columns `image` and `caption`; `FOLDER/test.csv` has the columns
//! `image` and `class` (the true class). Paths are relative to the folder and must stay inside it.
//! The pairs are added to the data; no row of the data is replaced.

use gauntlet::data::{decode, regular};
use gauntlet::rand::seq::SliceRandom;
use gauntlet::{Attack, Edit, Error, Goal, ImageSource, PoisonCtx, Result, attack::Stamped};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};
use tch::Tensor;

/// Adds stamped images that were made elsewhere.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Precomputed {
    /// The folder that contains `train.csv` and `test.csv`.
    folder: PathBuf,
    /// Target class of the stamped images, by name.
    target: String,
    /// Maximum number of pairs of `train.csv` to add, drawn from the seed; 0: all.
    most: usize,
}

gauntlet::register!(
    dyn Attack,
    Precomputed,
    "precomputed",
    "a backdoor made elsewhere: trains on the stamped images and captions of a folder, and tests with its stamped images",
    ""
);

#[derive(Deserialize)]
struct Pair {
    image: String,
    caption: String,
}

#[derive(Deserialize)]
struct Test {
    image: String,
    class: String,
}

impl Precomputed {
    /// Reads a table of the folder.
    fn table<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        let path = self.folder.join(name);
        let place = || path.display().to_string();
        let text = regular::read_to_string(&path, regular::LIST).map_err(Error::io(&path))?;
        let rows: std::result::Result<Vec<T>, csv::Error> =
            csv::Reader::from_reader(text.as_bytes()).into_deserialize().collect();
        let rows = rows.map_err(|error| Error::invalid(place(), error.to_string()))?;
        if rows.is_empty() { Err(Error::invalid(place(), "has no rows")) } else { Ok(rows) }
    }

    /// The path of an image, which must be inside the folder; links are resolved first.
    fn path(&self, image: &str) -> Result<PathBuf> {
        let outside = || Error::invalid(format!("image `{image}`"), format!("is outside {}", self.folder.display()));
        let plain = Path::new(image).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let path = self.folder.join(image);
        let inside = plain && whole(&path)?.starts_with(whole(&self.folder)?);
        if inside { Ok(path) } else { Err(outside()) }
    }

    fn paths(&self, images: impl Iterator<Item = String>) -> Result<Vec<PathBuf>> {
        images.map(|image| self.path(&image)).collect()
    }
}

fn whole(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::io(path))
}

fn read(path: &PathBuf) -> Result<Vec<u8>> {
    regular::read(path, regular::IMAGE).map_err(Error::io(path))
}

impl Attack for Precomputed {
    fn reads(&self) -> Result<Vec<PathBuf>> {
        if self.folder.as_os_str().is_empty() {
            let why = "is empty; give a folder with train.csv, test.csv and their images";
            return Err(Error::invalid("key `folder`", why));
        }
        let train = self.table("train.csv")?.into_iter().map(|Pair { image, .. }| image);
        let test = self.table("test.csv")?.into_iter().map(|Test { image, .. }| image);
        let (train, test) = (self.paths(train)?, self.paths(test)?);
        let trained: HashSet<Vec<u8>> = train.iter().map(read).collect::<Result<_>>()?;
        for path in &test {
            if trained.contains(&read(path)?) {
                return Err(Error::invalid(
                    path.display().to_string(),
                    "is a test image, and train.csv has the same image",
                ));
            }
        }
        let tables = ["train.csv", "test.csv"].map(|name| self.folder.join(name));
        Ok(tables.into_iter().chain(train).chain(test).collect())
    }

    fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {
        let images = self.table("test.csv")?.into_iter().map(|Test { image, class }| {
            self.path(&image)?;
            let truth = ctx.data.classes.find(&class).map_err(|error| error.during(format!("test.csv, `{image}`")))?;
            Ok(Stamped { file: image, truth })
        });
        let class = ctx.data.classes.find(&self.target).map_err(|error| error.during("key `target`"))?;
        Ok(Goal::Files { class, images: images.collect::<Result<_>>()? })
    }

    fn poison(&self, ctx: &PoisonCtx, goal: &Goal) -> Result<Vec<Edit>> {
        let Goal::Files { class, .. } = *goal else { unreachable!("the goal of this attack is files") };
        let mut pairs: Vec<Pair> = self.table("train.csv")?;
        pairs.shuffle(&mut ctx.rng("precomputed/pairs"));
        pairs.truncate(if self.most == 0 { pairs.len() } else { self.most });
        let edit = |Pair { image, caption }| {
            self.path(&image)?;
            Ok(Edit { replaces: None, image: ImageSource::File(image), stamped: false, caption, class })
        };
        pairs.into_iter().map(edit).collect()
    }

    fn image(&self, file: &str, size: u32) -> Result<Tensor> {
        let path = self.path(file)?;
        let bytes = regular::read(&path, regular::IMAGE).map_err(Error::io(&path))?;
        let pixels = decode::image(&bytes, size).map_err(|why| Error::invalid(path.display().to_string(), why))?;
        let side = i64::from(size);
        Ok(Tensor::from_slice(&pixels).view([3, side, side]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let home = tempfile::tempdir().unwrap();
        let (folder, outside) = (home.path().join("poison"), home.path().join("secret.png"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&outside, "secret").unwrap();
        std::fs::write(folder.join("own.png"), "own").unwrap();
        std::os::unix::fs::symlink(&outside, folder.join("link.png")).unwrap();
        let attack = Precomputed { folder, ..Precomputed::default() };
        assert!(attack.path("own.png").is_ok());
        for name in ["../secret.png", outside.to_str().unwrap(), "link.png"] {
            let message = attack.path(name).unwrap_err().chain();
            assert!(message.contains(name) && message.contains("is outside"), "{message}");
        }
        assert!(attack.path("none.png").unwrap_err().chain().contains("none.png"));
    }
}
