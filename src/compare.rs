//! `gauntlet compare`: the differences between a suite's defenses that its seeds support, and two
//! trained models image by image.

use crate::grid::{align, grid};
use crate::say;
use clap::Args;
use gauntlet::evaluator::Unit;
use gauntlet::lease::attempt;
use gauntlet::{Error, Result, Trial};
use gauntlet_report::differing::{Differing, differing};
use gauntlet_report::folder::Folder;
use gauntlet_report::judge::{self, Comparison, remarks};
use gauntlet_report::statistics::seeds;
use gauntlet_report::view::ResultsView;
use gauntlet_report::{layout, pair};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Compares the defenses of a suite.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet compare out/demo
  gauntlet compare out/demo --models poisoned/clip/seed-10 poisoned/roclip/seed-10

The seed is the unit. For each score that ranks (accuracy, attack success, downstream sets), a defense's value minus that of the
baseline, and of the defense's own controls, is taken seed by seed: both share the seed's targets and held-out images. The 95% interval
and p value are those of the paired t test. All verdicts of a suite are corrected together by Holm, so that the chance of any false
verdict is 5%. The exact sign-flip test must also reject at 5%; it is not corrected, since six seeds cannot go below 0.031.

Fewer than 3 seeds give a range, fewer than 6 no verdict. Seeds that agree to the last image are not taken as certain: a share is known
to a case, a rank to a place. In the clean arena an attack poisons nothing, and defenses are compared only by scores that belong to no
attack. If seeds fall into two camps, a note says how many are broken. Cells whose attack failed the suite's gate, vacuous rows and
costly rows get no verdict and say so. docs/statistics.md has the models and how well they hold.")]
pub struct Compare {
    /// The folder given to `run` as --out
    folder: PathBuf,
    /// Compare with this defense; default: the suite's baseline
    #[arg(long, value_name = "LABEL")]
    baseline: Option<String>,
    /// Compare two trained models, image by image, by McNemar's exact test: ARENA/DEFENSE/seed-N of
    /// the folder, twice
    #[arg(long, num_args = 2, value_name = "TRIAL", conflicts_with = "baseline")]
    models: Vec<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Compare {
    /// Prints the comparison.
    pub fn run(self) -> Result<()> {
        let folder = Folder::read(&self.folder)?;
        // Refuses what may not be compared, models included.
        let view = ResultsView::new(&folder.suite, &folder.lines)?;
        if let [first, second] = &self.models[..] {
            return self.pair(&folder, first, second);
        }
        let reference = self.baseline.as_ref().unwrap_or(&folder.suite.baseline);
        let comparisons = judge::compare(&view, reference)?;
        if comparisons.is_empty() {
            let why = "has no two rows with a score of the same seed yet; continue with `gauntlet run`";
            return Err(Error::invalid(self.folder.display().to_string(), why));
        }
        let remarks = [remarks::controls(&comparisons), remarks::camps(&view, &comparisons)].concat();
        let recipes = recipes(&folder, &comparisons)?;
        if self.json {
            say(&format!("{:#}\n", as_json(&comparisons, &remarks, &recipes)));
            return Ok(());
        }
        let mut text = String::new();
        for arena in view.arenas() {
            let of_arena: Vec<&Comparison> = comparisons.iter().filter(|one| one.arena == arena).collect();
            if !of_arena.is_empty() {
                text += &format!("\narena {arena}\n{}\n", table(&of_arena));
            }
        }
        text += &remarks.iter().map(|remark| format!("note: {remark}\n")).collect::<String>();
        text += &layout::foot(&view, &folder.lines);
        let verdicts = comparisons.iter().filter(|one| one.adjusted.is_some()).count();
        text += &format!(
            "\n{verdicts} differences tested, p (Holm) corrected together; intervals and p (signs) are not. A verdict needs both p below 0.05. Shares in points of 100.\n\nkeys in which rows differ\n"
        );
        for ([ours, theirs], keys) in &recipes {
            text += &format!("  {ours} and {theirs}: {}\n", said(keys));
        }
        say(&text);
        Ok(())
    }

    fn pair(&self, folder: &Folder, first: &Path, second: &Path) -> Result<()> {
        let trials = folder.path.join("trials");
        let newest = |trial: &Path| attempt::newest(&trials.join(trial));
        let pairs = pair::compare(&newest(first)?, &newest(second)?)?;
        if self.json {
            say(&format!("{:#}\n", json!(pairs)));
            return Ok(());
        }
        let mut table = grid(&["score", "cases", "both", "first alone", "second alone", "p"]);
        for pair in &pairs {
            let counts = [pair.n as u64, pair.both, pair.first, pair.second].map(|count| count.to_string());
            table.add_row([vec![pair.score.clone()], counts.to_vec(), vec![probability(pair.p)]].concat());
        }
        align(&mut table, 1, 5);
        say(&format!(
            "first: {}\nsecond: {}\n{table}\nMcNemar's exact test applies to these two models only, not to other seeds of their defenses.\n",
            first.display(),
            second.display()
        ));
        Ok(())
    }
}

fn table(comparisons: &[&Comparison]) -> String {
    let mut table = grid(&[
        "score",
        "defense",
        "against",
        "seeds",
        "difference",
        "95% interval",
        "p (Holm)",
        "p (signs)",
        "verdict",
    ]);
    for one in comparisons {
        let (mean, unit) = (&one.difference, one.column.unit);
        let interval = match mean.seeds {
            1 => String::new(),
            n if n < seeds::FOR_INTERVAL => format!("range {} to {}", signed(mean.low, unit), signed(mean.high, unit)),
            _ => format!("{} to {}", signed(mean.low, unit), signed(mean.high, unit)),
        };
        table.add_row([
            one.column.name() + one.column.arrow(),
            one.defense.clone(),
            one.against.clone() + if one.control { " (its control)" } else { "" },
            mean.seeds.to_string(),
            signed(mean.mean, unit),
            interval,
            one.adjusted.map(probability).unwrap_or_default(),
            one.adjusted.map(|_| probability(one.signs)).unwrap_or_default(),
            one.verdict.words().into(),
        ]);
    }
    align(&mut table, 3, 4);
    table.to_string()
}

fn signed(value: f64, unit: Unit) -> String {
    let sign = if value > 0.0 { "+" } else { "" };
    sign.to_string() + &unit.show(value)
}

fn probability(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".into() } else { format!("{p:.4}") }
}

/// Each pair of rows that is compared, with the keys in which their trials differ.
type Recipes = Vec<([String; 2], Vec<Differing>)>;

fn recipes(folder: &Folder, comparisons: &[Comparison]) -> Result<Recipes> {
    let mut recipes: Recipes = Vec::new();
    for one in comparisons {
        let rows = [one.defense.clone(), one.against.clone()];
        if recipes.iter().any(|(known, _)| *known == rows) {
            continue;
        }
        let [ours, theirs] = rows.each_ref().map(|row| first_trial(folder, &one.arena, row));
        if let (Some(ours), Some(theirs)) = (ours?, theirs?) {
            recipes.push((rows, differing(&ours, &theirs)));
        }
    }
    Ok(recipes)
}

/// The row's trial of the first seed that has one.
fn first_trial(folder: &Folder, arena: &str, row: &str) -> Result<Option<Trial>> {
    folder.suite.seeds.iter().find_map(|seed| folder.trial(arena, row, *seed).transpose()).transpose()
}

fn said(keys: &[Differing]) -> String {
    let said = keys.iter().map(|Differing { key, values: [ours, theirs] }| format!("{key} = {ours} | {theirs}"));
    if keys.is_empty() { "nothing".into() } else { said.collect::<Vec<_>>().join("; ") }
}

fn as_json(comparisons: &[Comparison], remarks: &[String], recipes: &Recipes) -> Value {
    let recipes: Vec<Value> = recipes.iter().map(|(rows, keys)| json!({ "rows": rows, "differ_in": keys })).collect();
    json!({ "comparisons": comparisons.iter().map(one_as_json).collect::<Vec<_>>(), "remarks": remarks, "recipes": recipes })
}

fn one_as_json(one: &Comparison) -> Value {
    let mean = &one.difference;
    json!({
        "arena": one.arena, "attack": one.column.attack, "set": one.column.set, "score": one.column.score,
        "defense": one.defense, "against": one.against, "control": one.control, "seeds": mean.seeds,
        "difference": mean.mean, "low": mean.low, "high": mean.high, "p": mean.p, "p_holm": one.adjusted, "p_signs": one.signs,
        "verdict": one.verdict,
    })
}
