//! Joins several machines' folders of one suite into one folder that reads like any other. Common
//! parts must be the same; seeds, arenas and defenses are combined.

use crate::accuracy;
use crate::differing::{Differing, differing, differing_values};
use crate::folder::Folder;
use crate::lines::scores;
use crate::view::{ResultsView, edits};
use gauntlet::data::files::{Part, write_atomic};
use gauntlet::results::{Line, read_lines, write_lines};
use gauntlet::suite::Suite;
use gauntlet::{Error, Result, Trial};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Files of a trial that are kept, if they exist: all that are read later, but no weights.
const KEPT: [&str; 7] =
    ["trial.json", "scores.jsonl", "metrics.jsonl", "trajectory.jsonl", "cases.jsonl", "bad_rows.jsonl", "stderr.log"];

/// Keys of a suite that affect how a machine runs it but not the results: those of the first folder
/// are kept. Devices round differently; the table of the results warns about that.
const OF_THE_MACHINE: [&str; 3] = ["device", "cache_gb", "plan"];

/// The same for keys of a resolved trial.
const OF_A_TRIAL: [&str; 6] = ["device", "cache_gb", "poisoning", "libraries", "weights", "weights_blake3"];

/// The result of a merge.
pub struct Merged {
    /// Trials with scores.
    pub finished: usize,
    /// Trials that were started and have no scores.
    pub unfinished: usize,
    /// Differences between the folders that do not prevent the merge.
    pub warnings: Vec<String>,
}

/// A trial to keep: its place in the grid, its folder, and its scores.
struct Kept<'a> {
    name: String,
    folder: &'a Folder,
    trial: Trial,
    /// Empty if the trial has not finished.
    lines: Vec<Line>,
}

impl Kept<'_> {
    /// The folder of the trial's newest attempt.
    fn place(&self) -> PathBuf {
        let (arena, defense) = (&self.trial.arena, &self.trial.defense);
        self.folder.trial_folder(&arena.name, &defense.label, arena.seed)
    }
}

/// Joins folders of runs into `out`, which appears complete or not at all.
///
/// # Errors
/// If `out` exists, if the suites differ, if a trial has different scores in two folders, or if one
/// arena and seed has different poison.
pub fn merge(paths: &[PathBuf], out: &Path) -> Result<Merged> {
    if out.exists() {
        return Err(Error::invalid(out.display().to_string(), "already exists; choose another --out, or delete it"));
    }
    let folders = paths.iter().map(|path| Folder::read(path)).collect::<Result<Vec<_>>>()?;
    let suite = join_suites(&folders)?;
    let whole = Folder { path: out.into(), suite, lines: Vec::new() };
    let mut kept: Vec<Kept> = Vec::new();
    for (arena, defense, seed) in whole.grid() {
        kept.extend(choose(&folders, (arena, defense, seed))?);
    }
    check_trials(&kept)?;
    check_poison(&kept)?;
    let lines: Vec<Line> = kept.iter().flat_map(|kept| kept.lines.clone()).collect();
    let derived = accuracy::means(&whole.suite, &lines);
    let all = [lines.as_slice(), &derived].concat();
    let warnings = ResultsView::new(&whole.suite, &all)?.warnings(&all);
    write(&whole, &kept, &lines)?;
    let finished = kept.iter().filter(|kept| !kept.lines.is_empty()).count();
    Ok(Merged { finished, unfinished: kept.len() - finished, warnings })
}

/// The first folder's suite with the seeds, arenas and defenses of all.
fn join_suites(folders: &[Folder]) -> Result<Suite> {
    let Some(first) = folders.first() else { return Err(Error::invalid("merge", "needs at least one folder")) };
    let mut suite = first.suite.clone();
    for (place, folder) in folders.iter().enumerate() {
        for other in &folders[..place] {
            same_suite(other, folder)?;
        }
        suite.seeds.extend(&folder.suite.seeds);
        suite.arenas.extend(folder.suite.arenas.clone());
        for (label, table) in &folder.suite.defenses {
            suite.defenses.entry(label).or_insert_with(|| table.clone());
        }
    }
    suite.seeds.sort_unstable();
    suite.seeds.dedup();
    Ok(suite)
}

/// Seeds may differ, and each suite may have arenas and defenses that the other lacks; common ones
/// must be the same.
fn same_suite(first: &Folder, second: &Folder) -> Result<()> {
    let (ours, theirs) = (shared(&first.suite, &second.suite), shared(&second.suite, &first.suite));
    same(
        &differing_values(&ours, &theirs),
        [&first.path, &second.path],
        "suites may differ only in seeds, arenas and defenses",
    )
}

/// A suite without the parts that may differ.
fn shared(ours: &Suite, theirs: &Suite) -> Value {
    let mut ours = ours.clone();
    ours.arenas.retain(|label, _| theirs.arenas.contains_key(label));
    ours.defenses.retain(|label, _| theirs.defenses.contains_key(label));
    let mut json = serde_json::to_value(ours).expect("plain data");
    let keys = json.as_object_mut().expect("a suite is a table");
    keys.retain(|key, _| key != "seeds" && !OF_THE_MACHINE.contains(&key.as_str()));
    json
}

/// Rejects keys that differ; the error names the first of them with its value in each folder.
fn same(differing: &[Differing], places: [&Path; 2], cure: &str) -> Result<()> {
    let Some(Differing { key, values: [ours, theirs] }) = differing.first() else { return Ok(()) };
    let more = if differing.len() > 1 { format!(" (and {} more keys)", differing.len() - 1) } else { String::new() };
    let (first, second) = (places[0].display(), places[1].display());
    Err(Error::invalid(format!("key `{key}`"), format!("is {ours} in {first} and {theirs} in {second}{more}; {cure}")))
}

/// The folder that a trial is taken from: the first in which it has finished, otherwise the first
/// in which it was started.
fn choose<'a>(folders: &'a [Folder], (arena, defense, seed): (&str, &str, u64)) -> Result<Option<Kept<'a>>> {
    let mut chosen: Option<Kept> = None;
    for folder in folders {
        let name = format!("{arena}/{defense}/seed-{seed}");
        let Some(trial) = folder.trial(arena, defense, seed)? else {
            if folder.lines.iter().any(|line| line.trial() == name) {
                let why = format!("has scores of {name}, but trials/{name} is missing; copy the folder `trials`, too");
                return Err(Error::invalid(folder.path.join("results.jsonl").display().to_string(), why));
            }
            continue;
        };
        let scores = folder.trial_folder(arena, defense, seed).join("scores.jsonl");
        let lines = if scores.exists() { read_lines(&scores)? } else { Vec::new() };
        match &chosen {
            Some(_) if lines.is_empty() => {}
            Some(first) if !first.lines.is_empty() => same_scores(first, folder, &lines)?,
            _ => chosen = Some(Kept { name, folder, trial, lines }),
        }
    }
    Ok(chosen)
}

/// A trial that ran twice must have the same scores; its cost may differ.
fn same_scores(first: &Kept, folder: &Folder, lines: &[Line]) -> Result<()> {
    let cure = "omit one of the folders, or delete this trial's folder in one of them";
    same(&differing_values(&found(&first.lines), &found(lines)), [&first.folder.path, &folder.path], cure)
        .map_err(|error| error.during(format!("trial {} has different scores", first.name)))
}

/// Values by name of the score.
fn found(lines: &[Line]) -> Value {
    let mut found = BTreeMap::new();
    for line in scores(lines) {
        let score = [line.attack.as_deref(), line.downstream.then_some(&line.dataset), Some(&line.score)];
        let score = score.into_iter().flatten().collect::<Vec<_>>().join(" ");
        found.insert(score, Value::from(line.value));
    }
    serde_json::to_value(found).expect("plain data")
}

/// The resolved trials may differ only in their names: another version of gauntlet may resolve the
/// same suite differently.
fn check_trials(kept: &[Kept]) -> Result<()> {
    let mut firsts: HashMap<&str, &Kept> = HashMap::new();
    for this in kept {
        let of_defense = *firsts.entry(&this.trial.defense.label).or_insert(this);
        for first in [&kept[0], of_defense] {
            let one_defense = first.trial.defense.label == this.trial.defense.label;
            let mut differing = differing(&first.trial, &this.trial);
            differing.retain(|one| {
                !OF_A_TRIAL.contains(&one.key.as_str()) && (one_defense || !one.key.starts_with("defense."))
            });
            let cure = "versions of gauntlet that resolve one suite differently cannot be joined";
            same(&differing, [&first.place(), &this.place()], cure)?;
        }
    }
    Ok(())
}

/// All trials of an arena and seed must have read the same edits.
fn check_poison(kept: &[Kept]) -> Result<()> {
    let mut firsts: HashMap<(&str, u64), (&Kept, &str)> = HashMap::new();
    for this in kept {
        let Some(line) = scores(&this.lines).next() else { continue };
        let (first, digest) = *firsts
            .entry((&this.trial.arena.name, this.trial.arena.seed))
            .or_insert((this, line.poison_digest.as_str()));
        if edits(digest) != edits(&line.poison_digest) {
            let why = format!(
                "{} in {} and {} in {} did not read the same data and poison (digests {digest} and {}): compare the data on both machines and \
                 gauntlet's versions, and run one of the two again",
                first.name,
                first.folder.path.display(),
                this.name,
                this.folder.path.display(),
                line.poison_digest
            );
            return Err(Error::invalid(
                format!("arena `{}`, seed {}", this.trial.arena.name, this.trial.arena.seed),
                why,
            ));
        }
    }
    Ok(())
}

/// Writes everything beside `whole.path`, and moves it there.
fn write(whole: &Folder, kept: &[Kept], lines: &[Line]) -> Result<()> {
    let staged = Part::new(&whole.path)?;
    for trial in kept {
        let (from, to) = (trial.place(), staged.path("trials").join(&trial.name));
        std::fs::create_dir_all(&to).map_err(Error::io(&to))?;
        for file in KEPT.map(|file| from.join(file)).iter().filter(|file| file.is_file()) {
            let name = file.file_name().expect("each has a name");
            std::fs::copy(file, to.join(name)).map_err(Error::io(file))?;
        }
    }
    let suite = serde_json::to_string_pretty(&whole.suite).expect("plain data");
    write_atomic(&staged.path("suite.json"), suite.as_bytes())?;
    write_lines(&staged.path("results.jsonl"), lines)?;
    staged.finish()
}

#[cfg(test)]
mod tests;
