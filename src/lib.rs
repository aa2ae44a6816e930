//! The commands of gauntlet: parses the arguments; each command is one file. `sweep.rs` runs a
//! suite.

// They panic if nothing can be written; `output.rs` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bars;
mod bench;
mod check;
mod compare;
mod data;
mod describe;
mod doctor;
mod eval;
mod exit;
mod grid;
mod merge;
mod new;
mod output;
mod plan;
mod poison;
mod report;
mod scratch;
mod sheet;
mod store;
mod sweep;
mod table;
mod tensorboard;
mod trace;
mod trial;
mod verify;

use clap::{Parser, Subcommand};
use exit::{CODES, Exit};
use gauntlet::Result;
use gauntlet::build::{self, Build};
use gauntlet::error::without_frames;
use gauntlet::library;
use output::{say, tell};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

/// Benchmark poisoning and backdoor attacks on CLIP pre-training, and defenses against them, under
/// identical conditions.
///
/// A suite (a TOML file) is a grid of trials: arenas (sets of attacks) x defenses x seeds. Every
/// defense trains on byte-identical poison, in the same order, with the same recipe, and is
/// measured in the same way.
#[derive(Parser)]
#[command(
    name = "gauntlet",
    version,
    after_help = format!("Start with:\n  gauntlet run suites/smoke.toml --out out/smoke\n  gauntlet list\n\n{CODES}")
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// A library of plugins to load, e.g. target/release/libmine.so, whose plugins are named
    /// mine/...; may be given several times
    #[arg(long, global = true, value_name = "FILE")]
    plugin: Vec<PathBuf>,
    /// Print events on standard error: data and poison that are made or found, loaded libraries,
    /// resumed training; -vv also prints each checkpoint. The events of a suite's trials go to their
    /// stderr.log. The variable GAUNTLET_LOG overrides this option: a level, or TARGET=LEVEL,...
    /// such as gauntlet_data=debug
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    /// Run a suite, each trial in its own process; finished trials are kept, interrupted ones
    /// continue
    Run(sweep::Run),
    /// Estimate the cost of a suite and the differences that it can detect, before it runs
    Plan(plan::Plan),
    /// Run or replay one resolved trial (`trial.json`, as written by a suite)
    Trial(trial::RunTrial),
    /// Measure a checkpoint without training: any weights in open_clip's names
    Eval(eval::Eval),
    /// Print the table of a suite's results, or write it as CSV, Markdown or LaTeX
    Table(table::ShowTable),
    /// Join the results of several machines into one folder
    Merge(merge::Merge),
    /// Write a suite's losses, trajectories and scores for TensorBoard
    Tensorboard(tensorboard::Tensorboard),
    /// Compare the defenses of a suite over its seeds: better, worse, not distinguishable
    Compare(compare::Compare),
    /// Compare a suite's results with a recorded run of it, for continuous integration
    Check(check::Check),
    /// Write a suite's results as one HTML page: tables, plots, images of the poison
    Report(report::Report),
    /// Measure numerics and speed on a device; prints JSON
    Bench(bench::Bench),
    /// List, fetch, check and show the downstream data sets
    #[command(subcommand)]
    Data(data::Data),
    /// Make, show and check poison as files, and export it with the whole training set
    #[command(subcommand)]
    Poison(poison::Poison),
    /// List the content of a run's store, and remove unused entries
    Store(store::Store),
    /// Check every stored file of a run against its hash: was anything changed since it was written?
    Verify(verify::Verify),
    /// List attacks, defenses and evaluators
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain a plugin, or the keys of `suite`, `recipe` or a data source: every field with
    /// default, range and help
    Describe {
        /// Name of a plugin, as `gauntlet list` prints it; or suite, recipe, downstream, world,
        /// webdataset, csv
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON schema of suite files, for an editor: keys, help and ranges of every
    /// available plugin
    Schema,
    /// Write a suite for your own pairs (docs/own-data.md), or a crate with your own plugin
    /// (docs/plugin.md)
    New(new::New),
    /// Report this machine's hardware and libraries, and any problems
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// The build information from `build.rs`.
const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("GAUNTLET_COMMIT"),
    dirty: matches!(env!("GAUNTLET_DIRTY").as_bytes(), b"true"),
    sources: env!("GAUNTLET_SOURCES"),
    crates: env!("GAUNTLET_CRATES"),
};

/// Runs the whole program, with the plugins that ship. To link custom plugins, call a function of
/// their crate first.
///
/// The caller must not set a global allocator: loaded plugins free memory of the program, and the
/// program frees theirs.
pub fn main() -> ExitCode {
    gauntlet_torch::report_aborts();
    gauntlet_torch::keep_freed_memory();
    build::set(BUILD);
    library::guard::shorten_panics();
    // Before anything uses CUDA: libtorch keeps the first answer that it finds.
    let cuda = gauntlet_torch::load_cuda();
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => return explain(&message),
    };
    if let Err(why) = &cuda {
        tell(&format!("warning: {why}; going on with the CPU"));
    }
    let traced = trace::start(arguments.verbose, std::env::var("GAUNTLET_LOG").ok());
    let loaded = traced.and_then(|()| arguments.plugin.iter().try_for_each(|path| library::load(path)));
    let outcome = loaded.map_err(|error| (Exit::Mistake, error));
    // What libtorch throws where no error is returned, as for want of memory, is a panic.
    let ran = catch_unwind(AssertUnwindSafe(|| {
        outcome.and_then(|()| run(arguments.command).map_err(|error| (Exit::of(&error), error)))
    }));
    let ran = match ran {
        Ok(ran) => ran,
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
            tell(&format!("error: {}", without_frames(text.unwrap_or("panicked"))));
            return Exit::Failed.into();
        }
    };
    match ran.and_then(|exit| output::check().map(|()| exit).map_err(|error| (Exit::Mistake, error))) {
        Ok(exit) => exit.into(),
        Err((Exit::Interrupted, error)) => {
            tell(&error.to_string());
            Exit::Interrupted.into()
        }
        Err((exit, error)) => {
            tell(&format!("error: {}", error.chain()));
            exit.into()
        }
    }
}

/// Prints the help, the version, or what is wrong with the arguments.
fn explain(message: &clap::Error) -> ExitCode {
    let printed = message.print();
    if message.use_stderr() {
        return Exit::Mistake.into();
    }
    output::keep(printed);
    match output::check() {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            tell(&format!("error: {}", error.chain()));
            Exit::Mistake.into()
        }
    }
}

fn run(command: Command) -> Result<Exit> {
    match command {
        Command::Run(run) => run.run(),
        Command::Plan(plan) => plan.run().map(|()| Exit::Done),
        Command::Trial(trial) => trial.run(),
        Command::Eval(eval) => eval.run(),
        Command::Merge(merge) => merge.run().map(|()| Exit::Done),
        Command::Verify(verify) => verify.run(),
        Command::Store(store) => store.run().map(|()| Exit::Done),
        Command::Tensorboard(tensorboard) => tensorboard.run().map(|()| Exit::Done),
        Command::Table(show) => show.run().map(|()| Exit::Done),
        Command::Compare(compare) => compare.run().map(|()| Exit::Done),
        Command::Check(check) => check.run(),
        Command::Report(report) => report.run().map(|()| Exit::Done),
        Command::Bench(bench) => bench.run(),
        Command::Data(data) => data.run(),
        Command::Poison(poison) => poison.run(),
        Command::List { json } => {
            say(&describe::list(json)?);
            Ok(Exit::Done)
        }
        Command::Describe { name, json } => {
            say(&describe::describe(&name, json)?);
            Ok(Exit::Done)
        }
        Command::Schema => {
            say(&describe::schema()?);
            Ok(Exit::Done)
        }
        Command::New(new) => new.run(),
        Command::Doctor { json } => {
            say(&doctor::doctor(json));
            Ok(Exit::Done)
        }
    }
}

/// An argument parser for numbers of at least 1, where 0 would do nothing.
fn one_or_more<T>(text: &str) -> std::result::Result<T, String>
where
    T: FromStr<Err: Display> + PartialOrd + From<u8>,
{
    let number: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    if number < T::from(1) { Err("must be 1 or more".into()) } else { Ok(number) }
}
