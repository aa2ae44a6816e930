//! The embedded world: images of simple things under coloured light and captions that name them,
//! generated from a seed.
//!
//! It is small enough to train on in a minute, and poisoning works on it as on real data: classes
//! are learned faster than poison, captions vary, a trigger patch survives the crop. A class is a
//! shape and a texture; colour, size and place are almost independent of the class.
//! `world/render.rs` draws the images, `world/captions.rs` writes the captions.

mod captions;
mod render;

pub use crate::config::World;

use crate::eda::Synonyms;
use crate::ordered::ordered;
use crate::source::{Entry, Row, Source};
use crate::{BadRow, ClassFile, Error, Progress, Result, draw};
use rand::RngExt;
use render::Scene;

/// Raise it whenever the same configuration gives other images or captions, so that no stale canvas
/// cache is used.
const VERSION: u32 = 1;

impl World {
    /// Checks the numbers; draws nothing yet.
    pub fn open(&self) -> Result<WorldSource> {
        within("data.pairs", self.pairs.into(), 100.0, 1e7)?;
        within("data.classes", self.classes.into(), 2.0, captions::NOUNS.len() as f64)?;
        within("data.colours", self.colours.into(), 1.0, captions::COLOURS.len() as f64)?;
        within("data.attributes", self.attributes, 0.0, 1.0)?;
        within("data.noise", self.noise, 0.0, 0.5)?;
        Ok(WorldSource { world: self.clone() })
    }
}

fn within(key: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(key, format!("{value} is not between {low} and {high}")))
}

/// An opened world. Every row is a function of (world seed, row number) only.
pub struct WorldSource {
    world: World,
}

impl WorldSource {
    /// The scene of a row. Drawn apart from the noise, so that every canvas size has the same
    /// scene.
    fn scene(&self, row: u64) -> Scene {
        let mut rng = draw::rng(self.world.seed, "world/scene", &[row]);
        let class = rng.random_range(0..self.world.classes);
        Scene::draw(&mut rng, class, self.world.colours)
    }

    fn caption(&self, row: u64, scene: &Scene) -> String {
        let mut rng = draw::rng(self.world.seed, "world/caption", &[row]);
        captions::write(&mut rng, scene, self.world.attributes)
    }

    fn entry(&self, row: u64) -> Entry {
        let scene = self.scene(row);
        let (caption, label) = (self.caption(row, &scene), Some(Self::label(scene.class)));
        Entry { caption, label, ..Entry::default() }
    }

    fn label(class: u32) -> String {
        captions::NOUNS[class as usize][0].to_string()
    }
}

/// Rows that one thread takes at a time.
const CHUNK: usize = 4096;

impl Source for WorldSource {
    fn fingerprint(&self) -> String {
        format!("world version {VERSION} {:?}", self.world)
    }

    fn content(&self) -> String {
        self.fingerprint()
    }

    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        let (pairs, mut done) = (u64::from(self.world.pairs), 0);
        let entries = |start: u64| -> Vec<Entry> {
            (start..pairs.min(start + CHUNK as u64)).map(|row| self.entry(row)).collect()
        };
        ordered((0..pairs).step_by(CHUNK), vec![entries; threads], |entries| {
            done += entries.len() as u64;
            progress.report("index", done, pairs, "rows");
            entries.into_iter().map(Ok).try_for_each(&mut *each)
        })
    }

    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        let number = row.number.into();
        let mut rng = draw::rng(self.world.seed, "world/noise", &[number]);
        Ok(self.scene(number).render(size, self.world.noise as f32, &mut rng))
    }

    fn name(&self, row: &Row) -> String {
        format!("world/{:06}", row.number)
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        let names = |class| captions::NOUNS[class as usize].map(String::from).to_vec();
        let classes = (0..self.world.classes).map(|class| (Self::label(class), names(class))).collect();
        Ok(Some(ClassFile {
            classes,
            templates: captions::PROMPTS.map(String::from).to_vec(),
            aliases: Default::default(),
        }))
    }

    fn max_bad(&self) -> f64 {
        0.0
    }

    fn synonyms(&self) -> Synonyms {
        Synonyms::Closed(captions::synonyms(self.world.classes))
    }

    fn vocabulary(&self) -> Vec<String> {
        captions::vocabulary(self.world.classes)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{Classes, words};
    use std::collections::HashSet;

    fn image(source: &WorldSource, number: u32, size: u32) -> Vec<u8> {
        let row = Row {
            number: crate::DataRow(number),
            key: "",
            caption: "",
            class: None,
            file: 0,
            start: 0,
            size: 0,
            seen: 0,
        };
        source.image(&row, size).unwrap()
    }

    /// A change here changes the world: it invalidates every published table made with it, and
    /// `VERSION` must be raised.
    #[test]
    fn the_world_is_the_one_that_published_tables_were_made_with() {
        let source = World::default().open().unwrap();
        let mut hasher = blake3::Hasher::new();
        for row in 0..4 {
            hasher.update(&image(&source, row, 32)).update(source.entry(row.into()).caption.as_bytes());
        }
        assert_eq!(hasher.finalize().to_hex()[..16], *"1654479751f8180b");
    }

    #[test]
    fn a_row_is_a_function_of_seed_and_number() {
        let source = World::default().open().unwrap();
        let other = World { seed: 1, ..World::default() }.open().unwrap();
        for row in [0, 7, 8999] {
            assert_eq!(image(&source, row, 48).len(), 3 * 48 * 48);
            assert!(image(&source, row, 48) == image(&source, row, 48));
            assert_eq!(source.entry(row.into()), source.entry(row.into()));
            assert_ne!(image(&source, row, 48), image(&other, row, 48));
        }
    }

    #[test]
    fn captions_keep_to_the_vocabulary_and_name_their_class_alone() {
        let source = World::default().open().unwrap();
        let vocabulary = source.vocabulary();
        assert!(vocabulary[..vocabulary.len() - 7].is_sorted() && vocabulary.len() <= 250);
        let known: HashSet<_> = vocabulary.into_iter().collect();
        let classes = Classes::new(vec![], source.classes().unwrap());
        let mut counts = vec![0; classes.len() as usize];
        for row in 0..2000 {
            let scene = source.scene(row);
            let caption = words(&source.caption(row, &scene));
            assert!(caption.len() <= 14 && caption.iter().all(|word| known.contains(word)), "{caption:?}");
            let class = classes.find(&WorldSource::label(scene.class)).unwrap();
            assert_eq!(classes.named_in(&caption.join(" ")), [class]);
            counts[class as usize] += 1;
        }
        assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
    }

    #[test]
    fn prompts_nouns_and_synonyms_keep_to_the_vocabulary() {
        let source = World { classes: 10, ..World::default() }.open().unwrap();
        let known: HashSet<_> = source.vocabulary().into_iter().collect();
        let file = source.classes().unwrap().unwrap();
        let prompts = file.templates.iter().flat_map(|template| words(template));
        let synonyms = captions::synonyms(10);
        let synonyms = synonyms.iter().flat_map(|(word, others)| others.iter().chain([word])).cloned();
        assert!(prompts.chain(synonyms).chain(file.classes.into_values().flatten()).all(|word| known.contains(&word)));
    }

    #[test]
    fn a_number_out_of_range_names_its_key() {
        let error = World { noise: f64::NAN, ..World::default() }.open().err().unwrap();
        assert_eq!(error.to_string(), "data.noise: NaN is not between 0 and 0.5");
        assert!(World { classes: 21, ..World::default() }.open().is_err());
    }
}
