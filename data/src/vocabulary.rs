//! Classes named by the suite instead of the data. Captions of a web crawl have no labels, but
//! attacks still target classes, whose names they search for in captions (RoCLIP uses ImageNet's,
//! Yang et al. 2023). A label of the data counts if it is a label or a name of these classes; all
//! other labels are ignored.

use crate::rows::Remarks;
use crate::source::{Entry, Row, Source, Stamp};
use crate::{BadRow, ClassFile, Error, Progress, Result, downstream, eda, words};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The classes of a downstream set by its name, with CLIP's class names and prompts, or those of a
/// class file (`.json`).
///
/// # Errors
/// If neither exists, or the file cannot be used; the message lists the known sets.
pub fn read(name: &str) -> Result<ClassFile> {
    if name.ends_with(".json") {
        return ClassFile::read(&PathBuf::from(name)).map_err(|error| error.during("key `classes`"));
    }
    downstream::vocabulary(name).ok_or_else(|| {
        let known = downstream::all().iter().map(|about| about.name.to_string());
        let known = known.filter(|name| downstream::vocabulary(name).is_some()).collect();
        Error::Unknown { kind: "vocabulary", name: name.into(), known }.during("key `classes` (or a .json class file)")
    })
}

/// A source with its classes replaced by these.
pub(crate) fn over(source: Arc<dyn Source>, classes: ClassFile) -> Arc<dyn Source> {
    let mut labels = HashMap::new();
    for (label, names) in &classes.classes {
        for name in std::iter::once(label).chain(names) {
            labels.entry(words(name)).or_insert_with(|| label.clone());
        }
    }
    Arc::new(Over { source, classes, labels, unknown: Mutex::default() })
}

struct Over {
    source: Arc<dyn Source>,
    classes: ClassFile,
    /// Words of a label or a name -> label.
    labels: HashMap<Vec<String>, String>,
    /// Number of labels that a scan found and that are not among the classes, and the first of
    /// them.
    unknown: Mutex<(u64, String)>,
}

impl Over {
    fn class_of(&self, label: &str) -> Option<String> {
        let known = self.labels.get(&words(label)).cloned();
        if known.is_none() {
            let (count, first) = &mut *self.unknown.lock().expect("no thread panics with it");
            *count += 1;
            if *count == 1 {
                *first = label.chars().take(80).collect();
            }
        }
        known
    }
}

impl Source for Over {
    fn fingerprint(&self) -> String {
        format!("{}\nclasses {:?}", self.source.fingerprint(), self.classes)
    }

    fn scan(
        &self,
        threads: usize,
        progress: &dyn Progress,
        each: &mut dyn FnMut(Result<Entry, BadRow>) -> Result<()>,
    ) -> Result<()> {
        self.source.scan(threads, progress, &mut |row| {
            each(
                row.map(|entry| Entry {
                    label: entry.label.as_deref().and_then(|label| self.class_of(label)),
                    ..entry
                }),
            )
        })
    }

    fn remarks(&self) -> Remarks {
        let mut remarks = self.source.remarks();
        let (count, first) = &*self.unknown.lock().expect("no thread panics with it");
        if *count > 0 {
            remarks.notes.push(format!(
                "labels that are not among the suite's `classes`, and are ignored: {count} (first `{first}`)"
            ));
        }
        remarks
    }

    fn content(&self) -> String {
        self.source.content()
    }

    fn image(&self, row: &Row, size: u32) -> Result<Vec<u8>, String> {
        self.source.image(row, size)
    }

    fn check_unchanged(&self, row: &Row) -> Result<()> {
        self.source.check_unchanged(row)
    }

    fn name(&self, row: &Row) -> String {
        self.source.name(row)
    }

    fn stamps(&self, threads: usize, progress: &dyn Progress, each: &mut dyn FnMut(Stamp) -> Result<()>) -> Result<()> {
        self.source.stamps(threads, progress, each)
    }

    fn classes(&self) -> Result<Option<ClassFile>> {
        Ok(Some(self.classes.clone()))
    }

    fn max_bad(&self) -> f64 {
        self.source.max_bad()
    }

    fn synonyms(&self) -> eda::Synonyms {
        self.source.synonyms()
    }

    fn vocabulary(&self) -> Vec<String> {
        self.source.vocabulary()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn imagenet_is_known_by_name_and_a_wrong_name_lists_what_there_is() {
        let imagenet = read("imagenet").unwrap();
        assert_eq!((imagenet.classes.len(), imagenet.templates.len()), (1000, 80));
        assert_eq!(imagenet.classes["n01608432"][0], "kite (bird of prey)");
        let message = read("imagnet").unwrap_err().chain();
        assert!(message.contains("did you mean `imagenet`") && message.contains("class file"), "{message}");
    }
}
