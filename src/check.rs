//! `gauntlet check`: compares a suite's results with a recorded run of it, for continuous
//! integration (docs/ci.md). `check/files.rs` writes the files for a CI service.

mod files;

use crate::exit::Exit;
use crate::grid::{align, grid};
use crate::say;
use clap::Args;
use gauntlet::data::files::write_atomic;
use gauntlet::data::regular;
use gauntlet::evaluator::Unit;
use gauntlet::{Error, Result};
use gauntlet_report::check::{Answer, Checked, Findings, Outcome};
use gauntlet_report::folder::Folder;
use gauntlet_report::record::Baseline;
use std::path::{Path, PathBuf};

/// Compares a suite's results with a recorded run of it.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet run suites/smoke.toml --set 'seeds=[0, 1, 2, 3, 4]' --out out/recorded
  gauntlet check out/recorded --record baseline.json
  gauntlet check out/now --against baseline.json --junit junit.xml --markdown summary.md

Exit codes: 0 if no score has moved; 1 if a score has moved by more than seeds explain, a trial failed, or the poison differs; 2 if the
command is wrong; 3 if it cannot be decided.

Scores that are equal to the last digit, seed by seed, are the same: pin seeds, threads and device. For other scores the means over
seeds are compared by a two-sided t test; a share is known to the resolution of its images, a rank to a place. All tests are corrected
together by Holm, so that a run of unchanged code fails with a chance of at most 5%. A baseline states for each score the change that
it can detect; smaller changes pass.")]
#[command(group(clap::ArgGroup::new("what").required(true).args(["against", "record"])))]
pub struct Check {
    /// The folder given to `run` as --out
    folder: PathBuf,
    /// The recorded run
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Record this run as a baseline instead: 5 seeds or more, all finished
    #[arg(long, value_name = "FILE", conflicts_with_all = ["junit", "markdown", "tolerance", "all"])]
    record: Option<PathBuf>,
    /// Ignore changes of shares below this (0.05: five points of 100); default: every change counts
    /// that the seeds can show
    #[arg(long, value_name = "SHARE")]
    tolerance: Option<f64>,
    /// Write every score as a test case, in JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write a summary in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Print every score, including those that are the same
    #[arg(long)]
    all: bool,
}

impl Check {
    /// Records a baseline, or compares and returns the exit code.
    pub fn run(self) -> Result<Exit> {
        if self.tolerance.is_some_and(|tolerance| !(0.0..=1.0).contains(&tolerance)) {
            return Err(Error::invalid(
                "--tolerance",
                "must be a share from 0 to 1, such as 0.05 for five points of 100",
            ));
        }
        let folder = Folder::read(&self.folder)?;
        if let Some(path) = &self.record {
            return record(&folder, path);
        }
        let path = self.against.as_ref().expect("clap asks for one of the two");
        let baseline = read(path)?;
        let findings = baseline.check(&folder, self.tolerance)?;
        let name = &folder.suite.name;
        if let Some(path) = &self.junit {
            write_atomic(path, files::junit(name, &findings)?.as_bytes())?;
        }
        if let Some(path) = &self.markdown {
            write_atomic(path, files::markdown(name, &findings).as_bytes())?;
        }
        say(&text(&findings, self.all));
        Ok(exit(&findings))
    }
}

fn exit(findings: &Findings) -> Exit {
    match findings.answer() {
        Answer::NothingMoved => Exit::Done,
        Answer::Moved => Exit::Failed,
        Answer::CannotTell => Exit::CannotTell,
    }
}

fn read(path: &Path) -> Result<Baseline> {
    let text = regular::read_to_string(path, regular::WRITTEN).map_err(Error::io(path))?;
    serde_json::from_str(&text).map_err(|error| {
        let why =
            format!("is damaged, or is not a baseline recorded by this gauntlet ({error}); make one with `--record`");
        Error::invalid(path.display().to_string(), why)
    })
}

fn record(folder: &Folder, path: &Path) -> Result<Exit> {
    let baseline = Baseline::record(folder)?;
    let json = serde_json::to_string_pretty(&baseline).expect("plain data") + "\n";
    write_atomic(path, json.as_bytes())?;
    let mut shares: Vec<_> = baseline.scores.iter().filter(|score| score.unit == Unit::Share).collect();
    shares.sort_by(|a, b| b.detectable.total_cmp(&a.detectable));
    let mut text =
        format!("{}: {} scores of {} seeds\n", path.display(), baseline.scores.len(), folder.suite.seeds.len());
    if let Some(middle) = shares.get(shares.len() / 2) {
        text += &format!(
            "half of the shares can detect a change of {} points or less; the least sensitive:\n",
            points(middle.detectable)
        );
    }
    for score in shares.iter().take(5) {
        text += &format!("  {}: {} points\n", score.key.name(), points(score.detectable));
    }
    say(&text);
    Ok(Exit::Done)
}

fn points(share: f64) -> String {
    if share < 1.0 { format!("{:.1}", share * 100.0) } else { "no (100)".into() }
}

/// The text output: regressions first.
fn text(findings: &Findings, all: bool) -> String {
    let mut table = grid(&HEADER);
    let shown = |checked: &&Checked| all || !matches!(checked.outcome, Outcome::Same | Outcome::Within);
    for checked in findings.scores.iter().filter(shown) {
        table.add_row(cells(checked));
    }
    align(&mut table, 1, 5);
    let mut text = if table.is_empty() { String::new() } else { format!("{table}\n") };
    let lines = findings.other_poison.iter().chain(&findings.remarks);
    text += &lines.map(|line| format!("{line}\n")).collect::<String>();
    if !table.is_empty() {
        text += EXPLAINED;
    }
    text + &summary(findings) + "\n"
}

const EXPLAINED: &str = "\
change: change of the mean over seeds, ± half its 95% interval, uncorrected; p: of no change, all scores corrected together; detectable: the true change that
these seeds find with a chance of 97.5%. Shares are in %; ranks and cosines are unscaled.
";

/// The counts and the verdict.
fn summary(findings: &Findings) -> String {
    let verdict = match findings.answer() {
        Answer::NothingMoved => "nothing has moved",
        Answer::Moved if count(findings, |outcome| *outcome == Outcome::Failed) > 0 => "FAILED",
        Answer::Moved => "REGRESSION",
        Answer::CannotTell => "could not tell",
    };
    format!(
        "{verdict}: of {} scores {} the same to the last digit, {} within, {} moved or failed, {} undecided",
        findings.scores.len(),
        count(findings, |outcome| *outcome == Outcome::Same),
        count(findings, |outcome| *outcome == Outcome::Within),
        count(findings, Outcome::is_regression),
        count(findings, |outcome| matches!(outcome, Outcome::CannotTell(_)))
    )
}

fn count(findings: &Findings, wanted: fn(&Outcome) -> bool) -> usize {
    findings.scores.iter().filter(|one| wanted(&one.outcome)).count()
}

const HEADER: [&str; 7] = ["score", "recorded", "now", "change", "p (Holm)", "detectable", "outcome"];

fn cells(checked: &Checked) -> [String; 7] {
    let unit = checked.recorded.unit;
    let mean = |values: Vec<f64>| match values.len() {
        0 => "–".into(),
        n => unit.show(values.iter().sum::<f64>() / n as f64),
    };
    let change =
        checked.change.map(|change| format!("{} ±{}", unit.show(change.change), unit.show(change.half_width(0.95))));
    [
        checked.recorded.key.name(),
        mean(checked.recorded.values.values().copied().collect()),
        mean(checked.values.values().copied().collect()),
        change.unwrap_or_default(),
        checked.adjusted.map(|p| format!("{p:.4}")).unwrap_or_default(),
        checked.detectable.map_or("–".into(), |change| unit.show(change)),
        checked.outcome.words(),
    ]
}
