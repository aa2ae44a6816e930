//! `gauntlet table`: the results of a suite as text, or for another program.

use crate::say;
use clap::{Args, ValueEnum};
use gauntlet::Result;
use gauntlet::data::files::write_atomic;
use gauntlet::results::Line;
use gauntlet::suite::Suite;
use gauntlet_report::folder::Folder;
use gauntlet_report::{export, table};
use std::path::{Path, PathBuf};

/// Prints the results of a suite.
#[derive(Args)]
#[command(after_help = "\
  gauntlet table out/demo
  gauntlet table out/demo --format csv --out demo.csv
  gauntlet table out/demo --format latex --out paper/demo.tex

csv: a row for each arena, attack, defense, set and score. `mean` over `seeds` seeds, `low` and `high` (from 3 seeds on the 95% interval of the mean,
docs/statistics.md, else the least and the greatest value), `broken` (how many seeds are, where they fall in two camps, else empty), `base_mean` (the same
score in the clean arena), `gate` (passed, failed, unknown; empty where the score is no attack's success), the marks `baseline`, `oracle`, `elsewhere`
(trained by another program), `vacuous` and `costly`, and a column `seed_N` for each seed. Shares are within 0 to 1, as
in results.jsonl. Empty: does not apply, or has not run.

markdown: the tables of the text, for GitHub.

latex: the same tables with booktabs, mean and interval only. A mean is bold where `gauntlet compare` finds the defense better than the baseline, and,
asked with `--baseline` THAT DEFENSE, finds no other better than it. Below 6 seeds nothing is bold, and the caption says so.")]
pub struct ShowTable {
    /// The folder given to `run` as --out
    folder: PathBuf,
    /// As what
    #[arg(long, value_enum, default_value_t = TableFormat::Text)]
    format: TableFormat,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum TableFormat {
    /// For people; it is kept in the folder as table.txt, too
    Text,
    /// For a data frame: a row for each score
    Csv,
    /// For GitHub
    Markdown,
    /// For a paper, with booktabs
    Latex,
}

impl ShowTable {
    /// Prints or writes it.
    pub fn run(self) -> Result<()> {
        let text = match self.format {
            TableFormat::Text => text(&self.folder)?,
            TableFormat::Csv => self.export(export::csv)?,
            TableFormat::Markdown => self.export(export::markdown)?,
            TableFormat::Latex => self.export(export::latex)?,
        };
        match &self.out {
            None => say(&text),
            Some(path) => write_atomic(path, text.as_bytes())?,
        }
        Ok(())
    }

    fn export(&self, write: fn(&Suite, &[Line]) -> Result<String>) -> Result<String> {
        let Folder { suite, lines, .. } = Folder::read(&self.folder)?;
        write(&suite, &lines)
    }
}

/// The table of a suite's folder; it is kept as `table.txt`, too.
pub fn text(out: &Path) -> Result<String> {
    let Folder { suite, lines, .. } = Folder::read(out)?;
    let table = table::render(&suite, &lines)?;
    write_atomic(&out.join("table.txt"), table.as_bytes())?;
    Ok(table)
}
