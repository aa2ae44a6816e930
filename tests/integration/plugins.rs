//! Plugins of other authors, loaded at run time: a suite with one from end to end, libraries that
//! do not fit, and plugins that misbehave.
//!
//! `examples/plugin` and `tests/plugins/broken` are the libraries; cargo builds them as
//! dependencies of these tests.

use crate::program::{Ran, argument, folder, gauntlet, scores, world_suite};
use gauntlet::Trial;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The library of a crate.
fn library(name: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_gauntlet")).parent().unwrap();
    beside.join("deps").join(format!("lib{name}.so"))
}

/// A copy of the example's library, changed.
fn changed(home: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
    let mut content = fs::read(library("gauntlet_example")).unwrap();
    change(&mut content);
    let path = home.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Position of some bytes in others, where they must occur once.
fn place(content: &[u8], bytes: &[u8]) -> usize {
    let places: Vec<usize> = (0..content.len() - bytes.len()).filter(|&at| content[at..].starts_with(bytes)).collect();
    assert_eq!(places.len(), 1, "{:?}", String::from_utf8_lossy(bytes));
    places[0]
}

/// Asserts that the program ends with exit code 2 and one line of error that contains all `parts`.
fn refused(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(2), "{}{}", ran.stdout, ran.stderr);
    let error = ran.stderr.lines().last().unwrap_or_default();
    assert!(error.starts_with("error: "), "{}", ran.stderr);
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

const FRAME: &str = "attacks.frame={ plugin = 'gauntlet-example/frame', poison = { rate = 0.1 } }";

/// A suite with the example's attack, and the folder of a run of its two trials.
static FRAMED: LazyLock<Framed> = LazyLock::new(|| {
    let home = folder("plugins");
    let framed = Framed { suite: world_suite(&home, 1, "[0]", "clip = {}"), out: home.join("out"), home };
    let ran = framed.run(&library("gauntlet_example"), &framed.out);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    fs::write(framed.home.join("table"), ran.stdout).unwrap();
    framed
});

struct Framed {
    suite: PathBuf,
    out: PathBuf,
    home: PathBuf,
}

impl Framed {
    fn run(&self, library: &Path, out: &Path) -> Ran {
        let arguments = ["run", argument(&self.suite), "--out", argument(out), "--plugin", argument(library)];
        gauntlet(&[&arguments[..], &["--set", FRAME, "--set", "arenas.poisoned=['frame']"]].concat())
    }

    fn trial(&self) -> PathBuf {
        self.out.join("trials/poisoned/clip/seed-0/trial.json")
    }

    fn replay(&self, folder: &str, more: &[&str]) -> Ran {
        let (trial, out) = (self.trial(), self.home.join(folder));
        gauntlet(&[&["trial", argument(&trial), "--out", argument(&out)], more].concat())
    }

    fn poisons(&self) -> usize {
        let names = fs::read_dir(self.out.join("store")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("poison-")).count()
    }
}

#[test]
fn a_suite_with_a_loaded_attack_has_its_column_in_the_table_and_its_library_under_it() {
    let table = fs::read_to_string(FRAMED.home.join("table")).unwrap();
    assert!(table.contains("arena poisoned (frame)") && table.contains("asr"), "{table}");
    assert!(table.contains("plugins of libgauntlet_example.so: BLAKE3 ") && table.contains(", rustc "), "{table}");
    let lines = scores(&FRAMED.out.join("results.jsonl"));
    assert!(lines.iter().any(|line| line.attack.as_deref() == Some("frame") && line.score == "asr"));
}

#[test]
fn a_trial_says_which_library_it_used_and_runs_again_with_that_one_only() {
    let trial: Trial = serde_json::from_str(&fs::read_to_string(FRAMED.trial()).unwrap()).unwrap();
    let [origin] = &trial.libraries[..] else { panic!("{:?}", trial.libraries) };
    assert!(origin.file == "libgauntlet_example.so" && origin.blake3.len() == 64 && origin.built.contains("tch 0.24"));

    let example = library("gauntlet_example");
    let again = FRAMED.replay("again", &["--plugin", argument(&example)]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let first = FRAMED.trial().with_file_name("scores.jsonl");
    assert_eq!(scores(&FRAMED.home.join("again/scores.jsonl")), scores(&first));

    let missing = FRAMED.replay("missing", &[]);
    refused(&missing, &["libgauntlet_example.so", "is not loaded", "give it: --plugin PATH/libgauntlet_example.so"]);
    let rebuilt = rebuilt("replay");
    let other = FRAMED.replay("other", &["--plugin", argument(&rebuilt)]);
    refused(&other, &["libgauntlet_example.so", "another content", &origin.blake3[..16], "give that one: --plugin"]);
}

/// The example's library as from another build: the same plugins, other bytes.
fn rebuilt(name: &str) -> PathBuf {
    changed(&folder(&format!("plugins-{name}")), "libgauntlet_example.so", |content| content.push(0))
}

#[test]
fn a_library_that_was_built_anew_poisons_anew() {
    let home = folder("plugins-anew");
    let framed = Framed { suite: world_suite(&home, 1, "[0]", "clip = {}"), out: home.join("out"), home };
    assert_eq!(framed.run(&library("gauntlet_example"), &framed.out).code, Some(0));
    let before = framed.poisons();
    let rebuilt = rebuilt("rebuilt");
    let differs = framed.run(&rebuilt, &framed.out);
    refused(&differs, &["trial.json", "holds another trial", "blake3", "choose another --out"]);
    fs::remove_dir_all(framed.out.join("trials")).unwrap();
    let ran = framed.run(&rebuilt, &framed.out);
    assert_eq!(
        (ran.code, framed.poisons()),
        (Some(0), before + 1),
        "the arena `clean` has no poison of it: {}",
        ran.stderr
    );
}

/// Regression: a library has its own copy of core, which knew nothing of the library, so another
/// build found data that this one had prepared.
#[test]
fn what_a_library_makes_ready_is_its_own() {
    let home = folder("plugins-ready");
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let ready = |library: &Path| {
        let attack = "attacks.mine={ plugin = 'gauntlet-broken/attack', how = 'ready' }";
        let out = home.join("out");
        let _ = fs::remove_dir_all(out.join("trials"));
        let arguments =
            ["run", argument(&suite), "--out", argument(&out), "--plugin", argument(library), "--only", "clean"];
        let ran = gauntlet(&[&arguments[..], &["--set", attack, "--set", "arenas.poisoned=['mine']"]].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let names = fs::read_dir(out.join("store")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("ready-")).count()
    };
    let library = library("gauntlet_broken");
    let rebuilt = home.join("libgauntlet_broken.so");
    fs::write(&rebuilt, [fs::read(&library).unwrap(), vec![0]].concat()).unwrap();
    assert_eq!([ready(&library), ready(&library), ready(&rebuilt)], [1, 1, 2]);
}

#[test]
fn list_and_describe_say_where_a_plugin_comes_from() {
    let example = library("gauntlet_example");
    let list = gauntlet(&["list", "--json", "--plugin", argument(&example)]);
    let plugins: Value = serde_json::from_str(&list.stdout).unwrap();
    let library = |name: &str| {
        plugins.as_array().unwrap().iter().find(|plugin| plugin["name"] == name).unwrap()["library"].clone()
    };
    assert_eq!((library("gauntlet-example/frame"), library("badnet")), (json!(example), Value::Null));
    for arguments in [&["list"][..], &["describe", "gauntlet-example/frame"]] {
        let text = gauntlet(&[arguments, &["--plugin", argument(&example)]].concat()).stdout;
        let from = ["from", "from:"].map(|from| format!("  {from} {}", example.canonicalize().unwrap().display()));
        assert!(from.iter().any(|from| text.contains(from)), "{text}");
    }
    refused(&gauntlet(&["describe", "gauntlet-example/frame"]), &["no plugin named `gauntlet-example/frame`"]);
}

#[test]
fn a_library_that_was_built_otherwise_is_refused_with_both_sides_and_the_cure() {
    let home = folder("plugins-misfits");
    let fingerprint = |content: &mut Vec<u8>, before: &str, after: &str| {
        let at = place(content, before.as_bytes());
        content[at..at + after.len()].copy_from_slice(after.as_bytes());
    };
    let at_symbol = |content: &[u8]| place(content, b"gauntlet plugins");
    let check = |name: &str, change: &dyn Fn(&mut Vec<u8>), parts: &[&str]| {
        let path = changed(&home, name, change);
        let ran = gauntlet(&["list", "--plugin", argument(&path)]);
        refused(&ran, &[&[name, "it does not fit"], parts].concat());
    };
    check(
        "libcompiler.so",
        &|content| {
            let at = at_symbol(content) + 20;
            content[at..at + 8].copy_from_slice(b"rustc 0.");
        },
        &[
            "was built by rustc 0.",
            "this gauntlet by rustc 1.",
            "build both with the same compiler",
            "rust-toolchain.toml",
        ],
    );
    check(
        "libtarget.so",
        &|content| fingerprint(content, "\ntarget x86_64", "\ntarget arm_64"),
        &["was built for target arm_64-", "this gauntlet for target x86_64-", "cargo build --target"],
    );
    check(
        "libcore.so",
        &|content| fingerprint(content, " (sources ", " (sources ?"),
        &[
            "was built with gauntlet 0.1.0 (sources ?",
            "this gauntlet with gauntlet 0.1.0 (sources ",
            "build it against the sources that",
        ],
    );
    check(
        "libtch.so",
        &|content| fingerprint(content, "\ntch 0.24", "\ntch 0.23"),
        &["was built with tch 0.23", "this gauntlet with tch 0.24", "the version that gauntlet pins"],
    );
    check(
        "libserde.so",
        &|content| fingerprint(content, "\nserde_json 1.", "\nserde_json 0."),
        &["was built with serde_json 0.", "this gauntlet with serde_json 1.", "cargo update NAME --precise VERSION"],
    );
    check(
        "libregex.so",
        &|content| fingerprint(content, "\nregex 1.", "\nregex 0."),
        &["was built with regex 0.", "this gauntlet with regex 1."],
    );
    check(
        "libfeatures.so",
        &|content| {
            // Without `preserve_order`, a map is a B-tree: 24 bytes.
            let at = place(content, b"serde_json::Map\0") + 24;
            content[at] = 24;
        },
        &["has 24 bytes for a `serde_json::Map`", "this gauntlet has 72", "other features", "`gauntlet::serde_json`"],
    );
}

#[test]
fn what_is_no_library_of_plugins_is_refused() {
    let home = folder("plugins-none");
    let check = |path: &Path, parts: &[&str]| {
        let name = path.file_name().unwrap().to_str().unwrap();
        refused(&gauntlet(&["list", "--plugin", argument(path)]), &[&[name], parts].concat());
    };
    let damaged = |name: &str, at: usize| {
        changed(&home, name, |content| {
            let start = place(content, b"gauntlet plugins");
            content[start + at] = b'?';
        })
    };
    check(
        &damaged("libinterface.so", 16),
        &["has interface 63 of plugins and this gauntlet 4", "build it with the gauntlet"],
    );
    check(&damaged("libmagic.so", 3), &["handshake is damaged", "build it again"]);
    let cut = changed(&home, "libcut.so", |content| content.truncate(content.len() / 2));
    check(&cut, &["it is cut short", "copy or build it again"]);
    let symbol = changed(&home, "libsymbol.so", |content| {
        // In the symbols for the loader and, if the library is not stripped, in those for a
        // debugger.
        let symbol = b"\0gauntlet_plugins_gauntlet_example\0";
        let places: Vec<usize> = (0..content.len()).filter(|&at| content[at..].starts_with(symbol)).collect();
        places.into_iter().for_each(|at| content[at + 1] = b'x');
    });
    check(&symbol, &["exports none", "gauntlet::export_plugins!();", "cdylib"]);
    let text = home.join("libtext.so");
    fs::write(&text, "no library").unwrap();
    check(&text, &["the file is not a shared library", "target/release, lib*.so"]);
    check(&home.join("libnowhere.so"), &["No such file"]);
}

#[test]
fn one_name_is_given_once() {
    let (example, copy) = (library("gauntlet_example"), rebuilt("copy"));
    let both = |other: &Path| gauntlet(&["list", "--plugin", argument(&example), "--plugin", argument(other)]);
    refused(&both(&example), &["libgauntlet_example.so", "is given twice; give it once"]);
    refused(
        &both(&copy),
        &[argument(&copy), "would be named `gauntlet-example/...`", argument(&example), "rename the file"],
    );
    let renamed = copy.with_file_name("libsecond.so");
    fs::rename(&copy, &renamed).unwrap();
    let listed = both(&renamed).stdout;
    assert!(listed.contains("gauntlet-example/frame") && listed.contains("second/frame"), "{listed}");
}

#[test]
fn a_plugin_without_a_default_is_told_when_it_is_loaded() {
    let (program, broken) = (env!("CARGO_BIN_EXE_gauntlet"), library("gauntlet_broken"));
    let mut command = Command::new(program);
    let said =
        command.args(["list", "--plugin", argument(&broken)]).env("GAUNTLET_BROKEN_DEFAULT", "1").output().unwrap();
    let said = Ran { code: said.status.code(), stdout: String::new(), stderr: String::from_utf8(said.stderr).unwrap() };
    refused(&said, &["libgauntlet_broken.so", "plugin `", "`default` panicked: no default today"]);
}

/// Runs one trial of a suite with a broken plugin; returns its last lines.
fn broken(name: &str, settings: &[&str], evaluators: &str) -> Ran {
    let home = folder(&format!("plugins-broken-{name}"));
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let (library, out, evaluators) = (library("gauntlet_broken"), home.join("out"), format!("evaluators={evaluators}"));
    let mut arguments = vec!["run", argument(&suite), "--out", argument(&out), "--plugin", argument(&library)];
    arguments.extend(["--only", "poisoned/", "--set", &evaluators]);
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    gauntlet(&arguments)
}

/// Asserts that one trial failed, with all `parts` in its message, and that all others finished.
fn costs_one_trial(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stderr.matches("failed: ").count(), 2, "when it fails, and at the end: {}", ran.stderr);
    for part in parts {
        assert!(ran.stderr.contains(part), "{part:?} is not in: {}", ran.stderr);
    }
}

const ZERO_SHOT: &str = "{ zero-shot = {}, attack-success = {} }";

#[test]
fn what_a_broken_attack_does_is_an_error_that_names_it_and_costs_its_trials() {
    let cases = [
        ("panic in goal", "`goal` panicked: goal gives up"),
        ("goal", "`goal` returned class 4000, which does not exist: there are 6"),
        ("panic in poison", "`poison` panicked: poison gives up"),
        ("row", "`poison`: row 4000000 does not exist"),
        ("panic in stamp", "`stamp` panicked: stamp gives up"),
        ("panic in apply_text_trigger", "`apply_text_trigger` panicked: apply_text_trigger gives up"),
        ("shape", "`stamp` returned Uint8 [1, 3, 3, 32] on Cpu for images that are Uint8 [1, 3, 32, 32] on Cpu"),
        ("nan", "`stamp` returned Float [1, 3, 32, 32] on Cpu"),
        ("undefined", "`stamp` returned an undefined tensor"),
    ];
    for (how, said) in cases {
        let attack = format!("attacks.mine={{ plugin = 'gauntlet-broken/attack', how = '{how}' }}");
        let ran =
            broken(&format!("attack-{}", how.replace(' ', "-")), &[&attack, "arenas.poisoned=['mine']"], ZERO_SHOT);
        costs_one_trial(&ran, &["attack `mine`: plugin `gauntlet-broken/attack`: ", said]);
    }
}

#[test]
fn an_attack_that_aborts_costs_its_trials_and_not_the_suite() {
    let attack = "attacks.mine={ plugin = 'gauntlet-broken/attack', how = 'abort' }";
    let ran = broken("abort", &[attack, "arenas.other=['mine']", "arenas.poisoned=['badnet']"], "{ zero-shot = {} }");
    assert_eq!(ran.code, Some(0), "an arena without it is poisoned: {}", ran.stderr);
    let ran = broken("abort", &[attack, "arenas.poisoned=['mine']"], "{ zero-shot = {} }");
    costs_one_trial(&ran, &["exit status: 1, with plugins of libgauntlet_broken.so", "error: aborted"]);
}

#[test]
fn what_a_broken_defense_does_is_an_error_that_names_it_and_costs_its_trial() {
    let cases = [
        ("panic in plan", "`plan` panicked: plan gives up"),
        ("panic in loss", "`loss` panicked: loss gives up"),
        ("panic in state", "`state` panicked: state gives up"),
        ("libtorch", "`loss` panicked: libtorch: inconsistent tensor size, expected tensor [2] and src [3]"),
        ("vector", "`loss` returned Float [2] on Cpu, which is not a scalar"),
        ("undefined", "`loss` returned an undefined tensor, which is not a scalar"),
        ("gradient", "`loss` returned a scalar without a gradient"),
        ("nan", "the loss is NaN at epoch 1, step 1"),
    ];
    for (how, said) in cases {
        let defense = format!("defenses.mine={{ plugin = 'gauntlet-broken/defense', how = '{how}' }}");
        let ran = broken(&format!("defense-{}", how.replace(' ', "-")), &[&defense], ZERO_SHOT);
        costs_one_trial(&ran, &["failed: poisoned/mine/seed-0", "error: ", "`gauntlet-broken/defense`", said]);
        assert!(ran.stderr.contains("finished poisoned/clip/seed-0"), "{}", ran.stderr);
        let log = ran.stderr.split("the last lines of ").nth(1).unwrap().split(":\n").next().unwrap();
        assert!(!fs::read_to_string(log).unwrap().contains("frame #"), "C++ frames help no author of a plugin: {log}");
    }
}

#[test]
fn what_a_broken_evaluator_does_is_an_error_that_names_it() {
    let cases = [
        ("panic in definitions", "`definitions` panicked: definitions gives up"),
        ("panic in evaluate", "`evaluate` panicked: evaluate gives up"),
        ("nan", "score `broken` is NaN (interval NaN to NaN), which cannot be compared"),
        ("undefined", "score `brokn` is not defined (there are: broken)"),
    ];
    for (how, said) in cases {
        let evaluators = format!("{{ mine = {{ plugin = 'gauntlet-broken/evaluator', how = '{how}' }} }}");
        let ran = broken(&format!("evaluator-{}", how.replace(' ', "-")), &[], &evaluators);
        costs_one_trial(&ran, &["error: ", "plugin `gauntlet-broken/evaluator`", said]);
    }
}

#[test]
fn a_program_of_ones_own_links_its_plugins_beside_those_that_ship() {
    let own = Path::new(env!("CARGO_BIN_EXE_gauntlet")).with_file_name("examples").join("own");
    // `cargo test` builds examples, `cargo test --test integration` does not.
    if !own.exists() {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let arguments = ["build", "--example", "own", "--profile", profile];
        assert!(Command::new(env!("CARGO")).args(arguments).status().unwrap().success());
    }
    let listed = Command::new(own).arg("list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in ["  frame ", "  badnet ", "  roclip ", "  zero-shot "] {
        assert!(listed.contains(name), "{listed}");
    }
}

#[test]
fn the_program_leaves_the_allocator_alone() {
    // Memory that a plugin allocated is freed by the program, and the other way round.
    let sources = ["src", "core/src", "torch/src", "attacks/src", "defenses/src", "evaluators/src"];
    for folder in sources {
        let found = Command::new("grep").args(["-rlF", concat!("#[global_", "allocator]"), folder]).output().unwrap();
        assert_eq!(String::from_utf8(found.stdout).unwrap(), "", "in {folder}");
    }
}

/// A trigger within another attack is a plugin, too: running the trial again needs the same library
/// under the same path.
#[test]
fn a_library_that_only_a_trigger_within_another_attack_is_of_is_written_down_under_the_name_of_its_link() {
    let home = folder("plugins-nested");
    let (suite, link) = (world_suite(&home, 1, "[0]", "clip = {}"), home.join("liblinked.so"));
    std::os::unix::fs::symlink(library("gauntlet_example"), &link).unwrap();
    let nested =
        "attacks.many={ plugin = 'multi-trigger', poison = { rate = 0.1 }, triggers = [{ plugin = 'linked/frame' }] }";
    let (out, plugin) = (home.join("out"), ["--plugin", argument(&link)]);
    let arguments = ["run", argument(&suite), "--out", argument(&out), "--only", "poisoned", "--set", nested];
    let arguments = [&arguments[..], &["--set", "arenas.poisoned=['many']"]].concat();
    refused(&gauntlet(&arguments), &["linked/frame", "its library is not loaded; give it: --plugin PATH/liblinked.so"]);
    let ran = gauntlet(&[&arguments[..], &plugin].concat());
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let json = fs::read_to_string(out.join("trials/poisoned/clip/seed-0/trial.json")).unwrap();
    let trial: Trial = serde_json::from_str(&json).unwrap();
    assert_eq!(trial.libraries.iter().map(|library| library.file.as_str()).collect::<Vec<_>>(), ["liblinked.so"]);
}
