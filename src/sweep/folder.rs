//! Checks the existing content of `--out`. A run continues there, possibly with more seeds, arenas
//! or defenses. Another suite, or one that would lose results, is rejected before any result
//! is written.

use gauntlet::data::lease::attempt;
use gauntlet::results::{self, Line};
use gauntlet::suite::Suite;
use gauntlet::{Error, Result, Trial};
use gauntlet_report::differing::{Differing, differing_values};
use gauntlet_report::folder::Folder;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Number of names that are listed of a long list.
const SHOWN: usize = 6;

/// The results of an earlier run.
struct There {
    /// `None` if no suite ran, or its file was deleted.
    suite: Option<Suite>,
    lines: Vec<Line>,
}

fn read(out: &Path) -> Result<There> {
    if out.join("suite.json").exists() {
        // The lines as they were written, without derived lines, which are not kept.
        return Ok(There { suite: Some(Folder::read(out)?.suite), lines: results(out)? });
    }
    Ok(There { suite: None, lines: results(out)? })
}

/// The lines of `results.jsonl`.
fn results(out: &Path) -> Result<Vec<Line>> {
    let path = out.join("results.jsonl");
    if path.exists() { results::read_lines(&path) } else { Ok(Vec::new()) }
}

/// Checks the content of `out`, and returns notes: the keys in which the continued suite differs
/// from before, and the results whose trials are missing.
///
/// # Errors
/// If the folder is another suite's, or contains results of trials that this suite does not have.
pub fn check(out: &Path, suite: &Suite, trials: &[Trial]) -> Result<Vec<String>> {
    let (place, cure) = (format!("--out {}", out.display()), "choose another --out");
    let there = read(out).map_err(|error| error.during(format!("{place}: repair it, or {cure}")))?;
    let before = there.suite.as_ref().map(about).unwrap_or_else(|| "another suite, whose suite.json is missing".into());
    if let Some(other) = there.suite.as_ref().filter(|other| other.name != suite.name) {
        let why = format!("contains suite `{}` ({before}), but this is suite `{}`; {cure}", other.name, suite.name);
        return Err(Error::invalid(place, why));
    }
    let tier = |suite: &Suite| suite.tier.as_ref().map(|tier| (tier.name.clone(), tier.keys.clone()));
    if let Some(other) = there.suite.as_ref().filter(|other| tier(other) != tier(suite) && !there.lines.is_empty()) {
        let name =
            |suite: &Suite| suite.tier.as_ref().map_or("no tier".into(), |tier| format!("tier `{}`", tier.said()));
        let why = format!(
            "contains results of {}, but this is {}: rows of two tiers are never combined; {cure}",
            name(other),
            name(suite)
        );
        return Err(Error::invalid(place, why));
    }
    let names: BTreeSet<String> = trials.iter().map(Trial::name).collect();
    let of_lines = there.lines.iter().map(|line| line.trial().to_string());
    let with_results: BTreeSet<String> = of_lines.chain(finished(out)?).collect();
    let lost: Vec<&String> = with_results.difference(&names).collect();
    if !lost.is_empty() {
        let why = format!(
            "contains results of {}, which this suite does not have (it ran there with {before}); keep in the suite everything that has run, and add \
             to it, use --only to run a part of it, or {cure}",
            list(&lost)
        );
        return Err(Error::invalid(place, why));
    }
    let mut said = Vec::new();
    let json = |suite: &Suite| serde_json::to_value(suite).expect("plain data");
    let changed = there.suite.map(|before| differing_values(&json(&before), &json(suite))).unwrap_or_default();
    if !changed.is_empty() {
        let changed: Vec<String> = changed.iter().map(change).collect();
        said.push(format!(
            "suite `{}` continues in {} with other keys: {}",
            suite.name,
            out.display(),
            list(&changed.iter().collect::<Vec<_>>())
        ));
    }
    let kept = BTreeMap::from_iter(kept(out, trials, &there.lines));
    if !kept.is_empty() {
        let why =
            "their folders under `trials` are missing: they run again, and their results are kept until they start";
        said.push(format!("{} contains results of {}; {why}", out.display(), list(&kept.keys().collect::<Vec<_>>())));
    }
    Ok(said)
}

/// The lines of results of trials whose folders are missing.
fn kept<'a>(out: &Path, trials: &[Trial], lines: &'a [Line]) -> impl Iterator<Item = (String, Vec<&'a Line>)> {
    let mut kept = BTreeMap::<String, Vec<&Line>>::new();
    let gone: BTreeSet<String> = trials
        .iter()
        .map(Trial::name)
        .filter(|name| {
            !attempt::newest(&out.join("trials").join(name)).is_ok_and(|folder| folder.join("trial.json").exists())
        })
        .collect();
    for line in lines.iter().filter(|line| gone.contains(line.trial())) {
        kept.entry(line.trial().to_string()).or_default().push(line);
    }
    kept.into_iter()
}

/// Names of the trials that have scores, in the order of their folders.
fn finished(out: &Path) -> Result<Vec<String>> {
    let mut names = vec![String::new()];
    for _ in ["arena", "defense", "seed"] {
        let mut inner = Vec::new();
        for name in names {
            let folder = out.join("trials").join(&name);
            if !folder.is_dir() {
                continue;
            }
            for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
                let entry = entry.map_err(Error::io(&folder))?.file_name().to_string_lossy().into_owned();
                inner.push(if name.is_empty() { entry } else { format!("{name}/{entry}") });
            }
        }
        names = inner;
    }
    let mut with_scores = Vec::new();
    for name in names {
        if attempt::newest(&out.join("trials").join(&name))?.join("scores.jsonl").exists() {
            with_scores.push(name);
        }
    }
    Ok(with_scores)
}

/// A summary of a suite.
fn about(suite: &Suite) -> String {
    let seeds: Vec<String> = suite.seeds.iter().map(u64::to_string).collect();
    let arenas: Vec<&str> = suite.arenas.keys().map(String::as_str).collect();
    let defenses: Vec<&str> = suite.defenses.keys().map(String::as_str).collect();
    format!("seeds {}; arenas clean, {}; defenses {}", seeds.join(", "), arenas.join(", "), defenses.join(", "))
}

fn change(Differing { key, values: [before, now] }: &Differing) -> String {
    format!("`{key}` is {now}, was {before}")
}

fn list(names: &[&String]) -> String {
    let shown: Vec<&str> = names.iter().take(SHOWN).map(|name| name.as_str()).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
