//! `gauntlet table`: prints the results of a suite as text, or in a format for another program.

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
Examples:
  gauntlet table out/demo
  gauntlet table out/demo --format csv --out demo.csv
  gauntlet table out/demo --format latex --out paper/demo.tex

csv: one row for each arena, attack, defense, set and score. `mean` is over `seeds` seeds. `low` and `high` are the 95% interval of the
mean from 3 seeds on (docs/statistics.md), otherwise the least and the greatest value. `broken` is the number of broken seeds if they
fall into two camps, otherwise empty. `base_mean` is the same score in the clean arena. `gate` is passed, failed or unknown, and empty
if the score is no attack's success. The marks are `baseline`, `oracle`, `elsewhere` (trained by another program), `vacuous` and
`costly`. Each seed has a column `seed_N`. Shares are 0 to 1, as in results.jsonl. An empty cell does not apply, or has not run.

markdown: the tables of the text, for GitHub.

latex: the same tables with booktabs, with only mean and interval. A mean is bold if `gauntlet compare` finds the defense better than
the baseline and, with `--baseline` set to that defense, finds no other better than it. Below 6 seeds nothing is bold, and the caption
says so.")]
pub struct ShowTable {
    /// The folder given to `run` as --out
    folder: PathBuf,
    /// Format of the table
    #[arg(long, value_enum, default_value_t = TableFormat::Text)]
    format: TableFormat,
    /// Write it to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum TableFormat {
    /// Text; `run` keeps it in the folder as table.txt, too
    Text,
    /// One row per score, for a data frame
    Csv,
    /// Tables for GitHub
    Markdown,
    /// Tables for a paper, with booktabs
    Latex,
}

impl ShowTable {
    /// Prints or writes the table.
    pub fn run(self) -> Result<()> {
        let text = match self.format {
            TableFormat::Text => self.export(table::render)?,
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

/// The table of a suite's folder, which is also written to it as `table.txt`.
pub fn text(out: &Path) -> Result<String> {
    let Folder { suite, lines, .. } = Folder::read(out)?;
    let table = table::render(&suite, &lines)?;
    write_atomic(&out.join("table.txt"), table.as_bytes())?;
    Ok(table)
}
