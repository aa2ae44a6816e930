//! Progress: bars on a terminal, JSON lines from a trial to its suite.

use crate::output::tell;
use gauntlet::Progress;
use gauntlet::data::visible_line;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One line of progress from a trial to its suite.
#[derive(Serialize, Deserialize)]
pub struct ProgressLine {
    /// The stage, such as `canvas`, `index` or `train`.
    pub stage: String,
    /// Units done.
    pub done: u64,
    /// Units in total.
    pub total: u64,
    /// A remark, such as the loss.
    pub note: String,
}

/// The last line of a trial that ends because another process trains the undefended model that it
/// needs.
#[derive(Serialize, Deserialize)]
pub struct WaitsFor {
    /// The folder of that model.
    pub waits_for: PathBuf,
}

/// Set by a signal: loops that report progress end.
static STOP: AtomicBool = AtomicBool::new(false);

/// Asks everything that reports progress to stop.
pub fn request_stop() {
    STOP.store(true, Ordering::Relaxed);
}

/// Prints progress as JSON lines on standard output. It drops notes on the data, which the suite
/// prints when it opens the data first.
pub struct JsonLines;

impl Progress for JsonLines {
    fn report(&self, stage: &str, done: u64, total: u64, note: &str) {
        let report = ProgressLine { stage: stage.into(), done, total, note: note.into() };
        let line = serde_json::to_string(&report).expect("plain data") + "\n";
        let mut out = std::io::stdout().lock();
        // Nobody reads it any more: the suite is gone.
        if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
            request_stop();
        }
    }

    /// The suite keeps a trial's standard error beside it.
    fn tell(&self, line: &str) {
        tell(line);
    }

    fn stopped(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

/// A single bar, for one trial in this process or the preparation of a suite. Each note on the data
/// is printed to standard error once.
pub struct Bar {
    bar: ProgressBar,
    said: Mutex<BTreeSet<String>>,
}

impl Bar {
    /// A bar that shows nothing yet.
    pub fn new() -> Self {
        Bar { bar: ProgressBar::new(0).with_style(style()), said: Mutex::default() }
    }

    /// Runs something that prints, with the bar hidden.
    pub fn aside(&self, print: impl FnOnce()) {
        self.bar.suspend(print);
    }
}

impl Progress for Bar {
    fn report(&self, stage: &str, done: u64, total: u64, note: &str) {
        show(&self.bar, stage, &ProgressLine { stage: stage.into(), done, total, note: note.into() });
    }

    fn tell(&self, line: &str) {
        self.aside(|| tell(line));
    }

    fn remark(&self, line: &str) {
        if self.said.lock().expect("no thread panics with it").insert(line.to_string()) {
            self.aside(|| tell(line));
        }
    }

    fn stopped(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

/// A bar for data that the user did not name, such as the world that `plan` times: notes on it are
/// dropped.
pub struct BarAlone(Bar);

impl BarAlone {
    /// A bar that shows nothing yet.
    pub fn new() -> Self {
        BarAlone(Bar::new())
    }
}

impl Progress for BarAlone {
    fn report(&self, stage: &str, done: u64, total: u64, note: &str) {
        self.0.report(stage, done, total, note);
    }

    fn tell(&self, line: &str) {
        self.0.aside(|| tell(line));
    }

    fn stopped(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Shows a report in a bar, under `prefix`.
pub fn show(bar: &ProgressBar, prefix: &str, report: &ProgressLine) {
    bar.set_prefix(visible_line(prefix).into_owned());
    bar.set_length(report.total);
    bar.set_position(report.done);
    bar.set_message(visible_line(&report.note).into_owned());
}

/// Bars of a suite: one for all trials, one for each running trial.
pub struct SuiteBars {
    /// All bars together.
    pub all: MultiProgress,
    overall: ProgressBar,
    /// Trials that were finished at the start.
    before: u64,
}

impl SuiteBars {
    /// Bars for this many trials, some of which are finished.
    pub fn new(total: usize, finished: usize) -> Self {
        let all = MultiProgress::new();
        let template = "{prefix:>44} [{bar:24}] {pos}/{len} trials  {elapsed} elapsed, {msg}";
        let style = ProgressStyle::with_template(template).expect("a valid template").progress_chars("=> ");
        let overall = all.add(ProgressBar::new(total as u64).with_style(style).with_prefix("all trials"));
        overall.set_position(finished as u64);
        overall.enable_steady_tick(Duration::from_millis(500));
        SuiteBars { all, overall, before: finished as u64 }
    }

    /// A bar for a trial that starts.
    pub fn start(&self, name: &str) -> ProgressBar {
        let bar = self.all.insert_before(&self.overall, ProgressBar::new(0).with_style(style()));
        bar.set_prefix(name.to_string());
        bar
    }

    /// Shows that `done` of `left` trials have ended since the start, each after `each` on average.
    pub fn finished(&self, done: usize, left: usize, each: Duration) {
        self.overall.set_position(self.before + done as u64);
        let rest = each * left.saturating_sub(done) as u32;
        self.overall.set_message(format!("about {} left", indicatif::HumanDuration(rest)));
    }

    /// Prints a line above the bars, or to standard error if there is no terminal.
    pub fn say(&self, line: &str) {
        if self.all.is_hidden() { tell(line) } else { self.all.suspend(|| tell(line)) }
    }
}

impl Drop for SuiteBars {
    fn drop(&mut self) {
        self.overall.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    let template = "{prefix:>44} [{bar:24}] {pos}/{len}  {rate}  {eta} left  {msg}";
    let style = ProgressStyle::with_template(template).expect("a valid template");
    style.with_key("rate", rate).progress_chars("=> ")
}

fn rate(state: &indicatif::ProgressState, text: &mut dyn std::fmt::Write) {
    // Failing to draw a bar is no error.
    let _ = write!(text, "{:.1}/s", state.per_sec());
}
