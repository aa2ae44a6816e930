//! `gauntlet report`: the results of a suite as one HTML page.

use crate::bars::Bar;
use crate::say;
use clap::Args;
use gauntlet::data::files::write_atomic;
use gauntlet::{Error, Progress, Result};
use gauntlet_report::folder::Folder;
use gauntlet_report::page;
use std::path::{Path, PathBuf};

/// Writes the page.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet report out/mine --html mine.html

The page has scores with every seed, accuracy against attack success, training curves, the trajectory of poisoned pairs, images of the
poison and the models' predictions for them, cost and configuration. It needs no network, so the file can be sent to others. The
command also works while the suite runs.")]
pub struct Report {
    /// The folder given to `run` as --out
    folder: PathBuf,
    /// The page [default: report.html in that folder]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Leave out the images of the poison, which need the data
    #[arg(long)]
    no_gallery: bool,
}

impl Report {
    /// Writes the page.
    pub fn run(self) -> Result<()> {
        let folder = Folder::read(&self.folder)?;
        let out = self.html.clone().unwrap_or_else(|| self.folder.join("report.html"));
        let bar = Bar::new();
        let html = page::html(&folder, (!self.no_gallery).then_some(&bar as &dyn Progress))?;
        let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(Error::io(parent))?;
        write_atomic(&out, html.as_bytes())?;
        say(&format!("{} ({:.1} MB)\n", out.display(), html.len() as f64 / 1e6));
        Ok(())
    }
}
