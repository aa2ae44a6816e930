//! Runs every command in README.md and in the pages under docs/: those of code blocks, and those
//! within sentences that name an option, a file or a plugin. A command that would take long is
//! replaced by a small one, or by `--dry-run`. A command that needs the network, or files that are
//! not in the repository, is listed below with its reason. A new command that cannot be run fails
//! the test.

use crate::program::folder;
use gauntlet::model::{Clip, ModelConfig};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Commands that are not run, by a part of the command, and the reason.
const LEFT_OUT: [(&str, &str); 17] = [
    ("report out/own", "needs a run of own.toml"),
    ("own.toml", "needs the reader's own pairs; protocol.rs runs such suites"),
    ("make paper-debug", "is what protocol.rs runs"),
    ("for trial in out/persistence", "needs the weights of a run of half an hour"),
    ("cat out/at-end", "needs what the line before it makes"),
    ("/shared/out", "needs a folder that machines share; cluster.rs runs such commands"),
    ("--shard 1/3", "needs the reader's suite; cluster.rs runs shards"),
    ("part-1 part-2", "needs parts of a suite; cluster.rs merges some"),
    ("make demo", "builds and trains for some minutes"),
    ("make test", "is what runs this"),
    ("make bench", "times for an hour; `make bench-check` runs the scripts"),
    ("make setup", "gets libtorch"),
    ("data fetch", "downloads"),
    ("cargo ", "builds"),
    ("bench/gpu.sh", "needs a GPU"),
    ("create_model_and_transforms", "needs open_clip; open_clip.rs runs it where it is"),
    ("python ", "`make bench-check` runs it; here only whether the script exists is checked"),
];

/// Commands that are run in another form: a part of the command, and its replacement. The first
/// match counts.
const SMALLER: [(&str, &str, &str); 16] = [
    (
        "poison export mine.toml",
        "--format webdataset --out exported",
        "--set data.pairs=300 --set attacks.targeted.targets=8 --format webdataset --out exported-mine",
    ),
    // These runs would write to folders that other results occupy.
    ("run mine.toml --out out/mine", "out/mine", "out/new"),
    ("run suites/smoke.toml", "--out out/", "--out out/smoke-"),
    (
        "plan mine.toml",
        "mine.toml",
        "mine.toml --set data.pairs=300 --set recipe.batch=32 --set recipe.warmup_steps=4 --steps 1",
    ),
    ("poison make mine.toml", "--out bundle", "--out bundle-mine"),
    // A record needs five seeds, but README's own suite has fewer in this test.
    ("check out/mine --against", "out/mine", "out/recorded"),
    ("merge out/one out/two", "--out out/mine", "--out out/merged"),
    (
        "eval --weights model.safetensors --suite",
        "--seed 10",
        "--seed 10 --set model=small --set data.pairs=300 --set heldout=0.2 --set attacks.targeted.targets=4",
    ),
    // RN50 and CIFAR-10 are not in the repository: a small model and an excerpt replace them.
    (
        "eval --weights model.safetensors",
        "--model RN50",
        "--model small --set downstream.cifar10.options.allow_partial=true",
    ),
    ("bench step --model RN50", "--model RN50 --batch 8", "--model tiny --batch 8 --steps 1 --warmup 0"),
    ("bench step --model tiny", "--precision fp32", "--precision fp32 --steps 1 --warmup 0"),
    ("bench pool --batch 32", "--size 20000 --size 200000 --size 1000000", "--size 200 --repeat 1"),
    ("poison make suites/demo.toml", "--out bundle", "--out bundle --set seeds=[10]"),
    ("suites/demo.toml --out out/demo --set bundle", "--set bundle=bundle", "--set bundle=bundle --set seeds=[10]"),
    ("data verify pets", "DIR", "DIR --allow-partial"),
    ("data show pets", "DIR", "DIR --allow-partial"),
];

/// Dry runs that must report missing files, and no other error.
const LACKING: [(&str, &[&str]); 2] =
    [("suites/paper.toml", &["data"]), ("suites/attacks.toml", &["out/surrogate", "out/precomputed"])];

/// Settings with which README's own suite trains in a second per trial.
const SMALL: [&str; 8] = [
    "data.pairs=300",
    "recipe.epochs=3",
    "recipe.batch=32",
    "recipe.warmup_steps=4",
    "attacks.targeted.targets=8",
    "heldout=0.1",
    "defenses.roclip.first=2",
    "'arenas={ stamped = [\"patch\"] }'",
];

#[derive(Debug)]
struct Said {
    /// `FILE:LINE`.
    place: String,
    text: String,
}

#[test]
fn every_command_of_the_readme_and_the_docs_runs() {
    let home = home();
    let (mut ran, mut failed) = (BTreeSet::new(), Vec::new());
    for Said { place, text } in commands() {
        if let Some((_, why)) = LEFT_OUT.iter().find(|(part, _)| text.contains(part)) {
            println!("left out, {place}: {text} ({why})");
            let script = text.split_whitespace().find(|word| word.ends_with(".py"));
            assert!(script.is_none_or(|script| Path::new(ROOT).join(script).exists()), "{place}: no script {script:?}");
            continue;
        }
        if !ran.insert(text.clone()) {
            continue;
        }
        let began = std::time::Instant::now();
        if let Err(why) = run(&home, &text) {
            failed.push(format!("{place}: {text}\n{why}"));
        }
        println!("{:5.1} s  {place}: {text}", began.elapsed().as_secs_f64());
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(ran.len() > 40, "only {} commands were found", ran.len());
}

#[test]
fn every_page_is_in_the_summary_of_the_book() {
    let docs = Path::new(ROOT).join("docs");
    let summary = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    for folder in ["", "results/"] {
        for entry in fs::read_dir(docs.join(folder)).unwrap() {
            let name = format!("{folder}{}", entry.unwrap().file_name().into_string().unwrap());
            let is_page = name.ends_with(".md") && name != "SUMMARY.md";
            assert!(!is_page || summary.contains(&format!("]({name})")), "docs/SUMMARY.md does not list {name}");
        }
    }
}

/// A folder like the repository, with the files that the commands need: README's suite, two runs of
/// it, weights, an excerpt of two sets.
fn home() -> PathBuf {
    let home = folder("readme");
    for name in ["suites", "tests", "bench", "core", "docs", "examples"] {
        symlink(Path::new(ROOT).join(name), home.join(name)).unwrap();
    }
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    // The first code block of that section.
    let section = readme.split("## Your own suite\n").nth(1).unwrap();
    let suite = section.lines().skip_while(|line| !line.starts_with("    "));
    let suite: String = suite
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.strip_prefix("    ").unwrap_or(line).to_string() + "\n")
        .collect();
    fs::write(home.join("mine.toml"), suite).unwrap();
    fs::create_dir(home.join("data")).unwrap();
    for name in ["data/cifar10", "DIR"] {
        symlink(Path::new(ROOT).join("tests/fixtures/downstream"), home.join(name)).unwrap();
    }
    let settings = SMALL.iter().map(|setting| format!(" --set {setting}")).collect::<String>();
    for (seed, out) in [(0, "one"), (1, "two")] {
        let only = "--only /clip/ --only /exposure-control/ --only /roclip/";
        shell(&home, &format!("gauntlet run mine.toml{settings} --set 'seeds=[{seed}]' {only} --out out/{out}"))
            .unwrap();
    }
    shell(&home, "gauntlet merge out/one out/two --out out/mine").unwrap();
    let one = "--set 'defenses={ clip = {} }' --set 'arenas={}' --set recipe.epochs=3";
    shell(&home, &format!("gauntlet run mine.toml{settings} {one} --set 'seeds=[0, 1, 2, 3, 4]' --out out/recorded"))
        .unwrap();
    shell(&home, "gauntlet check out/recorded --record baseline.json").unwrap();
    symlink("recorded", home.join("out/now")).unwrap();
    let small = ModelConfig::named("small").unwrap();
    Clip::new(&small, 0, tch::Device::Cpu).unwrap().save(&home.join("model.safetensors")).unwrap();
    home
}

/// Runs a command, or its replacement.
fn run(home: &Path, text: &str) -> Result<(), String> {
    let mut text = text.to_string();
    if let Some((_, there, instead)) = SMALLER.iter().find(|(part, ..)| text.contains(part)) {
        assert!(text.contains(there), "{text}");
        text = text.replace(there, instead);
    }
    if text.starts_with("gauntlet run") {
        text += if text.contains("--dry-run") { "" } else { " --dry-run" };
        if let Some((_, lacks)) = LACKING.iter().find(|(part, _)| text.contains(part)) {
            let said = shell(home, &text).expect_err("files that are not here");
            let problems: Vec<&str> = said.lines().filter(|line| line.starts_with("would fail: ")).collect();
            let known = |line: &&&str| lacks.iter().any(|part| line.contains(part));
            let other: Vec<&&str> = problems.iter().filter(|line| !known(line)).collect();
            return if problems.is_empty() || !other.is_empty() { Err(format!("{other:?} of {said}")) } else { Ok(()) };
        }
    }
    shell(home, &text)
}

fn shell(home: &Path, text: &str) -> Result<(), String> {
    let gauntlet = format!("gauntlet() {{ {} \"$@\"; }}\n{text}", env!("CARGO_BIN_EXE_gauntlet"));
    let mut command = Command::new("sh");
    command.args(["-ec", &gauntlet]).current_dir(home).env("OMP_WAIT_POLICY", "passive");
    let output = command.output().unwrap();
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr))),
    }
}

/// The commands of README.md and of every page under docs/.
fn commands() -> Vec<Said> {
    let mut files = vec![Path::new(ROOT).join("README.md")];
    files.extend(pages(&Path::new(ROOT).join("docs")));
    files.iter().flat_map(|path| commands_of(path)).collect()
}

/// The Markdown files in a folder and below it, in order.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    let below = |path: PathBuf| if path.is_dir() { pages(&path) } else { vec![path] };
    entries.into_iter().flat_map(below).filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

fn commands_of(path: &Path) -> Vec<Said> {
    let text = fs::read_to_string(path).unwrap();
    let name = path.strip_prefix(ROOT).unwrap().to_str().unwrap();
    let mut found = Vec::new();
    // Lines of code blocks; a backslash continues on the next line, a loop continues to its end.
    let mut open: Option<Said> = None;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        // Text after a comment sign would become part of the comment.
        let code = line.strip_prefix("    ").map(|code| code.split(" # ").next().unwrap_or(code).trim_end());
        let starts = ["gauntlet ", "make ", "python ", "cargo ", "bench/", "for ", "cat "];
        match (&mut open, code) {
            (Some(said), Some(code)) => {
                said.text += &format!("\n{code}");
            }
            (None, Some(code)) if starts.iter().any(|start| code.starts_with(start)) => {
                open = Some(Said { place, text: code.to_string() });
            }
            _ => {}
        }
        if let Some(said) = open.take_if(|said| is_whole(&said.text)) {
            found.push(said);
        }
    }
    // Within a sentence a command may be broken between lines.
    let prose: String =
        text.lines().filter(|line| !line.starts_with("    ")).map(|line| line.to_string() + "\n").collect();
    for span in prose.split('`').skip(1).step_by(2) {
        let span = span.split_whitespace().collect::<Vec<_>>().join(" ");
        let is_command = ["gauntlet ", "python ", "make "].iter().any(|start| span.starts_with(start));
        let says_all =
            span.contains("--") || span.contains('/') || span.contains(" describe ") || span.ends_with(" list");
        if is_command && says_all && !is_fragment(&span) {
            found.push(Said { place: name.to_string(), text: span });
        }
    }
    found
}

fn is_whole(text: &str) -> bool {
    let ends = |word: &str| text.lines().any(|line| line.trim() == word);
    !text.ends_with('\\') && (!text.starts_with("for ") || ends("done"))
}

/// A word in capitals is a placeholder for the reader, and an option alone is only a mention.
fn is_fragment(span: &str) -> bool {
    let stands_for = |word: &str| word.len() > 2 && word.chars().all(|c| c.is_ascii_uppercase() || c == '-');
    span.split_whitespace().any(stands_for)
        || ["compare --baseline", "eval --weights", "bench --kernels step", "bench --threads 8 step"]
            .iter()
            .any(|part| span.ends_with(part))
}
