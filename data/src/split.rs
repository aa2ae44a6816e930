//! Splits the pairs into training pairs and held-out pairs; drawn from the seed, equal in all
//! arenas and for all defenses.

use crate::dataset::Dataset;
use crate::files::{json, read_json, write_json};
use crate::store::Key;
use crate::{DataRow, Error, Result, draw, validation};
use std::collections::{BinaryHeap, HashMap, HashSet};

impl Dataset {
    /// Draws the held-out pairs from the seed: all rows of a held-out source if there is one; else,
    /// if the split is by label, `share` of every class (at least one row of each; rows without a
    /// class all train); else `share` of all rows. The split is by label if there are labels. If
    /// the suite names the classes, it is by label if half of the rows have one.
    ///
    /// In a split without labels, a held-out row whose image also trains is dropped from both
    /// parts, because it would not be a valid test. Images are equal if their files have the same
    /// size and their canvases are equal. (The split of labelled data is unchanged.)
    ///
    /// # Errors
    /// If no row is left to hold out.
    pub fn split(&self, share: f64, seed: u64) -> Result<Split> {
        let (heldout, labelled) = self.drawn(share, seed)?;
        let leaked = if labelled { Vec::new() } else { self.also_trained(&heldout)? };
        self.split_into(heldout, leaked)
    }

    /// The same without the comparison of images: images of held-out rows may also be in the
    /// training rows.
    pub fn split_unseen(&self, share: f64, seed: u64) -> Result<Split> {
        self.split_into(self.drawn(share, seed)?.0, Vec::new())
    }

    fn split_into(&self, mut heldout: Vec<DataRow>, leaked: Vec<DataRow>) -> Result<Split> {
        let mut excluded = [heldout.as_slice(), self.canvas.dropped()].concat();
        excluded.sort_unstable();
        heldout.retain(|row| leaked.binary_search(row).is_err());
        if heldout.is_empty() {
            let why = format!("the images of all {} held-out rows are also in the training rows", leaked.len());
            return Err(Error::invalid("data", why));
        }
        Ok(Split { train: TrainRows { rows: self.len(), excluded }, heldout, leaked })
    }

    /// The rows to hold out, ascending, and whether the split is by label.
    fn drawn(&self, share: f64, seed: u64) -> Result<(Vec<DataRow>, bool)> {
        let bad = self.canvas.dropped();
        let good = || self.rows().filter(|row| bad.binary_search(row).is_err());
        let apart = |row: &DataRow| validation::is_held_out(&self.row(*row));
        let labelled = good().filter(|row| self.row(*row).class.is_some()).count();
        let decide = labelled > 0 && (!self.named_apart || 2 * labelled >= good().count());
        let has_source = self.rows().any(|row| apart(&row));
        let mut heldout: Vec<DataRow> = match (has_source, decide) {
            (true, _) => good().filter(apart).collect(),
            (false, true) => self.of_every_class(good(), share, seed),
            (false, false) => {
                let mut least = Least::new((good().count() as f64 * share).round().max(1.0) as usize, seed);
                good().for_each(|row| least.push(row));
                least.rows().collect()
            }
        };
        if heldout.is_empty() {
            let table = if has_source { "table `data.validation`" } else { "table `data`" };
            return Err(Error::invalid(table, "none of its images can be decoded, so nothing is held out"));
        }
        heldout.sort_unstable();
        Ok((heldout, decide && !has_source))
    }

    /// `share` of the rows of every class, at least one of each.
    fn of_every_class(&self, rows: impl Iterator<Item = DataRow> + Clone, share: f64, seed: u64) -> Vec<DataRow> {
        let of_class = rows.filter_map(|row| Some((row, self.row(row).class? as usize)));
        let mut counts = vec![0usize; self.classes.len() as usize];
        of_class.clone().for_each(|(_, class)| counts[class] += 1);
        let wanted = |count: usize| ((count as f64 * share).round() as usize).max(1);
        let mut least: Vec<Least> = counts.into_iter().map(|count| Least::new(wanted(count), seed)).collect();
        of_class.for_each(|(row, class)| least[class].push(row));
        least.into_iter().flat_map(Least::rows).collect()
    }

    /// The given rows (ascending) whose image equals that of another row. Computed once and kept in
    /// the store.
    fn also_trained(&self, heldout: &[DataRow]) -> Result<Vec<DataRow>> {
        let key = Key::new("leaked", 1, crate::SOURCES).with("data", &self.key).with("held out", json(heldout));
        let key = key.of(format!("held-out rows of {} that train, too", self.index.of));
        let path = key.file(&self.store, "json");
        if path.exists() {
            key.note_use(&path)?;
            return read_json(&path).map_err(|error| error.during("a stored result of an earlier search; delete it"));
        }
        let sizes: HashSet<u32> = heldout.iter().map(|row| self.row(*row).size).collect();
        let mut by_look: HashMap<(u32, blake3::Hash), Vec<DataRow>> = HashMap::new();
        self.looks(heldout.iter().copied(), |row, size, look| by_look.entry((size, look)).or_default().push(row))?;
        let others =
            self.rows().filter(|row| heldout.binary_search(row).is_err() && sizes.contains(&self.row(*row).size));
        let mut leaked = Vec::new();
        // A match is removed from the map: the first match has already reported all copies of the
        // image.
        self.looks(others, |_, size, look| leaked.extend(by_look.remove(&(size, look)).unwrap_or_default()))?;
        leaked.sort_unstable();
        write_json(&path, &leaked)?;
        key.note_use(&path)?;
        Ok(leaked)
    }

    /// Calls `each` with row, file size and hash of the canvas of every row whose image can be
    /// decoded.
    fn looks(
        &self,
        rows: impl Iterator<Item = DataRow>,
        mut each: impl FnMut(DataRow, u32, blake3::Hash),
    ) -> Result<()> {
        let mut chunk = Vec::new();
        let mut rows = rows.peekable();
        while let Some(row) = rows.next() {
            chunk.push(row);
            if chunk.len() == CHUNK || rows.peek().is_none() {
                for (row, look) in chunk.iter().zip(self.canvas.hashes(&chunk)?) {
                    look.into_iter().for_each(|look| each(*row, self.row(*row).size, look));
                }
                chunk.clear();
            }
        }
        Ok(())
    }
}

/// Rows whose canvases are hashed together.
const CHUNK: usize = 256;

/// The rows with the smallest hashes, up to a number: the held-out rows.
struct Least {
    count: usize,
    seed: u64,
    /// The smallest so far, the largest of them on top.
    heap: BinaryHeap<(u64, DataRow)>,
}

impl Least {
    fn new(count: usize, seed: u64) -> Self {
        Least { count, seed, heap: BinaryHeap::new() }
    }

    fn push(&mut self, row: DataRow) {
        self.heap.push((draw::hash(self.seed, "split", &[row.into()]), row));
        if self.heap.len() > self.count {
            self.heap.pop();
        }
    }

    fn rows(self) -> impl Iterator<Item = DataRow> {
        self.heap.into_iter().map(|(_, row)| row)
    }
}

/// The split: training rows, and held-out rows for the zero-shot test, the targets and the stamped
/// test images.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Training rows.
    pub train: TrainRows,
    /// Held-out rows, ascending. If the split is by label, each of them has a class; otherwise only
    /// those with a label do.
    pub heldout: Vec<DataRow>,
    /// Rows that were not held out because their images are also in the training rows; ascending.
    /// They are in neither part.
    pub leaked: Vec<DataRow>,
}

/// The training rows, ascending. Stored as the few rows that are excluded.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainRows {
    rows: u32,
    /// Held out or bad, ascending.
    excluded: Vec<DataRow>,
}

#[expect(clippy::len_without_is_empty, reason = "there is always a row that trains, or the trainer refuses the batch")]
impl TrainRows {
    /// Number of training rows.
    pub fn len(&self) -> usize {
        self.rows as usize - self.excluded.len()
    }

    /// The training row at index `place`, which is below `len`.
    pub fn get(&self, place: usize) -> DataRow {
        // `place` training rows precede the row, and so do the excluded rows whose number minus the
        // number of excluded rows before them is at most `place`.
        let (mut low, mut high) = (0, self.excluded.len());
        while low < high {
            let middle = (low + high) / 2;
            if self.excluded[middle].place() - middle <= place { low = middle + 1 } else { high = middle }
        }
        DataRow(u32::try_from(place + low).expect("a row of the data is counted by a u32"))
    }

    /// Whether a row is a training row.
    pub fn contains(&self, row: DataRow) -> bool {
        row.0 < self.rows && self.excluded.binary_search(&row).is_err()
    }

    /// All training rows.
    pub fn iter(&self) -> impl Iterator<Item = DataRow> + '_ {
        let mut excluded = self.excluded.iter().peekable();
        DataRow::first(self.rows).filter(move |row| excluded.next_if_eq(&row).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_rows_are_all_but_the_excluded() {
        for excluded in [vec![], vec![0], vec![9], vec![0, 1, 2], vec![3, 5, 6, 9]] {
            let train = TrainRows { rows: 10, excluded: excluded.iter().copied().map(DataRow).collect() };
            let expected: Vec<DataRow> = (0..10).filter(|row| !excluded.contains(row)).map(DataRow).collect();
            assert_eq!(train.iter().collect::<Vec<_>>(), expected);
            assert_eq!((0..train.len()).map(|place| train.get(place)).collect::<Vec<_>>(), expected);
            assert!(DataRow::first(12).all(|row| train.contains(row) == expected.contains(&row)));
        }
    }
}
