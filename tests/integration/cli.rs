//! The output of the program: on its plugins, on the machine, and on typing mistakes.

use crate::program::{argument, folder, gauntlet, world_suite};
use serde_json::Value;

/// The program's output as JSON.
fn json(arguments: &[&str]) -> Value {
    let ran = gauntlet(arguments);
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", ran.stdout))
}

/// Asserts that the program ends with exit code 2 and one line of error that contains all `parts`.
fn refused(arguments: &[&str], parts: &[&str]) {
    let ran = gauntlet(arguments);
    assert_eq!(ran.code, Some(2), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.starts_with("error: ") && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    for part in parts {
        assert!(ran.stderr.contains(part), "{arguments:?}: {part:?} is not in: {}", ran.stderr);
    }
}

#[test]
fn list_and_describe_as_json_hold_every_plugin_and_every_field() {
    let list = json(&["list", "--json"]);
    let plugins = list.as_array().unwrap();
    assert!(plugins.iter().all(|plugin| plugin["summary"].is_string() && plugin["paper"].is_string()), "{list}");
    let names = plugins.iter().map(|plugin| plugin["name"].as_str().unwrap());
    for name in names.chain(["suite", "recipe", "world", "webdataset", "csv"]) {
        let about = json(&["describe", name, "--json"]);
        assert_eq!(about["name"], name);
        for field in about["fields"].as_array().unwrap() {
            let key = &field["key"];
            for part in ["default", "minimum", "maximum", "choices"] {
                assert!(field["is"] == "table" || field.get(part).is_some(), "{name}, {key}: no {part}");
            }
            assert!(field["help"].as_str().is_some_and(|help| help.len() > 5), "{name}, {key}: no help");
        }
    }
}

#[test]
fn the_list_is_in_columns() {
    let text = gauntlet(&["list"]).stdout;
    let rows = text.lines().filter(|line| line.starts_with("  ") && !line.trim_start().starts_with("from "));
    // A name holds no space, so the summary starts after the first spaces.
    let start = |line: &str| line.len() - line.trim_start().split_once(' ').unwrap().1.trim_start().len();
    let starts: std::collections::HashSet<usize> = rows.map(start).collect();
    assert_eq!(starts.len(), 1, "{text}");
}

#[test]
fn describe_tells_default_range_help_choices_and_definitions() {
    let field = |plugin: &str, key: &str| {
        let about = json(&["describe", plugin, "--json"]);
        about["fields"].as_array().unwrap().iter().find(|field| field["key"] == key).unwrap().clone()
    };
    let rate = field("badnet", "poison.rate");
    assert_eq!(["default", "minimum", "maximum"].map(|part| rate[part].as_f64()), [Some(0.0003), Some(0.0), Some(1.0)]);
    assert!(rate["help"].as_str().unwrap().contains("Share of the training rows"));
    let choices = field("badnet", "pattern")["choices"].clone();
    let values: Vec<&str> =
        choices.as_array().unwrap().iter().map(|choice| choice["value"].as_str().unwrap()).collect();
    assert_eq!(values, ["checkerboard", "noise", "yellow", "fixed-noise", "grid"]);
    assert_eq!(field("roclip", "augmentation.flip")["default"], 0.5, "fields of an inner table have dotted keys");
    let scores = json(&["describe", "attack-success", "--json"])["scores"].clone();
    assert!(scores[0]["score"] == "psr" && scores[0]["higher_is_better"] == false, "{scores}");
    let text = gauntlet(&["describe", "roclip"]).stdout;
    assert!(text.contains("every = 2  (from 1)") && text.contains("paper: Yang"), "{text}");
}

#[test]
fn help_lists_the_exit_codes() {
    let help = gauntlet(&["--help"]).stdout;
    for part in [
        "Exit codes:",
        "  1    a trial or a plugin failed",
        "  2    the request is wrong",
        "  3    undecided",
        "  130  interrupted",
    ] {
        assert!(help.contains(part), "{part:?} is not in: {help}");
    }
    assert_eq!(gauntlet(&["--no-such-option"]).code, Some(2));
}

#[test]
fn what_takes_long_is_told_only_where_it_is_asked_for() {
    let home = folder("events");
    let (suite, out) = (world_suite(&home, 1, "[0]", "clip = {}"), home.join("out"));
    let run = |arguments: &[&str]| {
        let run = ["run", argument(&suite), "--out", argument(&out), "--only", "clean"];
        let ran = gauntlet(&[&run[..], arguments].concat());
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.stderr
    };
    let shown = run(&["-vv"]);
    let made = ["info: row index made in ", "info: canvases of 32 pixels made in ", "info: poison of seed 0 made in "];
    assert!(made.iter().all(|part| shown.contains(part)), "{shown}");
    let log = std::fs::read_to_string(out.join("trials/clean/clip/seed-0/stderr.log")).unwrap();
    assert!(log.contains("info: poison of seed 0 found: ") && log.contains("debug: checkpoint written"), "{log}");
    std::fs::remove_dir_all(out.join("trials")).unwrap();
    let shown = run(&[]);
    assert!(!shown.contains("info: "), "{shown}");
    std::fs::remove_dir_all(out.join("trials")).unwrap();
    let shown = run(&["-v"]);
    assert!(shown.contains("info: row index found: ") && !shown.contains("debug: "), "{shown}");
    let mut wrong = std::process::Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    let wrong = wrong.arg("list").env("GAUNTLET_LOG", "gauntlet=loud").output().unwrap();
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(wrong.status.code() == Some(2) && said.contains("error: GAUNTLET_LOG=gauntlet=loud: "), "{said}");
}

#[test]
fn doctor_as_json_parses() {
    let checkup = json(&["doctor", "--json"]);
    assert!(checkup["cpu"]["cores"].as_u64() > Some(0) && checkup["libtorch"]["version"].is_string(), "{checkup}");
    assert!(checkup["problems"].is_array() && checkup["advice"].is_array());
}

#[test]
fn a_label_that_is_given_twice_is_told_and_so_is_a_count_of_none() {
    let eval = ["eval", "--weights", "none", "--model", "tiny", "--downstream", "dtd=none"];
    let twice = |option: &str, label: &str, given: &str| {
        let (label, arguments) = (format!("{option} {label}"), [option, given, option, given]);
        refused(&[&eval[..], &arguments].concat(), &[&label, "is given twice; give each label once"]);
    };
    twice("--downstream", "cifar10", "cifar10=none");
    twice("--attack", "badnet", "badnet");
    twice("--class", "mushroom", "mushroom");
    twice("--evaluator", "linear-probe", "linear-probe");
    for arguments in [
        &["data", "show", "dtd", "none", "--out", "sheet.png", "--count", "0"][..],
        &["poison", "show", "none", "--out", "sheet.png", "--rows", "0"],
        &["bench", "pool", "--repeat", "0"],
        &["bench", "numerics", "--threads", "0"],
        &[&eval[..], &["--threads", "0"]].concat(),
    ] {
        let ran = gauntlet(arguments);
        assert!(ran.code == Some(2) && ran.stderr.contains("must be 1 or more"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn what_is_mistyped_is_answered_with_what_exists_and_a_guess() {
    refused(&["describe", "roclp"], &["no plugin named `roclp`", "did you mean `roclip`?", "badnet", "suite"]);
    let set = |setting: &str, parts: &[&str]| {
        // A dry run, so that a mistake that is accepted costs nothing.
        refused(&["run", "suites/demo.toml", "--out", "no-such-folder", "--dry-run", "--set", setting], parts);
    };
    set("defenses.roclp={}", &["defense `roclp`", "did you mean `roclip`?", "augmentation-control"]);
    set("attacks.mine.plugin=badnets", &["attack `mine`", "no attack named `badnets`", "did you mean `badnet`?"]);
    set("defenses.roclip.evry=3", &["defense `roclip`", "no key named `evry`", "did you mean `every`?", "text_tower"]);
    set("defenses.roclip.every=0", &["defense `roclip`, key `every`", "0 is out of range", "from 1"]);
    set("arenas.poisoned=[\"badnt\"]", &["arena `poisoned`", "no attack named `badnt`", "did you mean `badnet`?"]);
    set("recipe.epoch=3", &["suites/demo.toml", "`epoch`", "did you mean `epochs`?"]);
    set("seed=3", &["suites/demo.toml", "`seed`", "did you mean `seeds`?"]);
    let twice = "evaluators={ zero-shot = {}, other = { plugin = 'zero-shot' } }";
    set(twice, &["evaluator `other`", "is `zero-shot`, as `zero-shot` is", "name each plugin once"]);
    set("model=tinny", &["`tinny`", "did you mean `tiny`?", "small"]);
    refused(&["run", "suites/dmo.toml", "--out", "no-such-folder"], &["suites/dmo.toml", "No such file"]);
}
