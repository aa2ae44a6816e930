//! A downstream set as pairs: its test images, each with a prompt of its class as the caption.
//! `gauntlet eval` uses it for weights that come without training data: the goals of attacks are
//! drawn from it.

pub use crate::config::Labelled;

use crate::downstream::{Set, open};
use crate::source::{Entry, Row, Source};
use crate::{BadRow, ClassFile, Progress, Result, draw};
use std::collections::BTreeMap;

impl Labelled {
    /// Opens the set; decodes nothing.
    pub fn open(&self) -> Result<impl Source + use<>> {
        Ok(LabelledPairs { set: open(&self.set, &self.path, &self.options)?, more: self.classes.clone() })
    }
}

struct LabelledPairs {
    set: Set,
    more: Vec<String>,
}

impl Source for LabelledPairs {
    fn fingerprint(&self) -> String {
        let Set { test, classes, templates, .. } = &self.set;
        format!("{} {classes:?} {templates:?} {:?}", test.fingerprint(), self.more)
    }

    fn scan(
        &self,
        _threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        let (set, count) = (&self.set, self.set.test.len());
        for item in 0..count {
            let class = set.test.label(item) as usize;
            let drawn = draw::hash(0, "labelled/template", &[item as u64]) % set.templates.len() as u64;
            let caption = set.templates[drawn as usize].replace("{}", &set.classes[class]);
            let (key, label) = (set.test.name(item), Some(set.labels[class].clone()));
            each(Ok(Entry { key, caption, label, start: item as u64, ..Entry::default() }))?;
        }
        progress.report("index", count as u64, count as u64, "rows");
        Ok(())
    }

    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        self.set.test.canvas(row.start as usize, size)
    }

    fn name(&self, row: &Row) -> String {
        self.set.test.name(row.start as usize)
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        let own = self.set.labels.iter().cloned().zip(self.set.classes.iter().map(|name| vec![name.clone()]));
        let more = self.more.iter().map(|name| (name.clone(), vec![name.clone()]));
        let classes: BTreeMap<String, Vec<String>> = more.chain(own).collect();
        Ok(Some(ClassFile { classes, templates: self.set.templates.clone(), aliases: BTreeMap::new() }))
    }

    fn max_bad(&self) -> f64 {
        0.0
    }
}
