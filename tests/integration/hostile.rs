//! Hostile surroundings: special files where files belong, output that nobody takes, text that a
//! terminal would obey, numbers that no machine has memory for.

use crate::program::{Ran, argument, end, folder, gauntlet, signal, start, trial, wait_until, world_suite};
use crate::report::copy;
use serde_json::{Value, json};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const FROZEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/frozen");

/// Runs the program; one that opens a named pipe would wait for ever.
fn ended(arguments: &[&str]) -> Ran {
    let mut child = start(arguments);
    wait_until(&format!("the end of {arguments:?}"), || child.try_wait().unwrap().is_some());
    end(child)
}

fn pipe(path: &Path) -> PathBuf {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap();
    }
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    path.to_path_buf()
}

#[test]
fn a_special_file_where_a_file_belongs_is_refused_by_name_and_never_waited_for() {
    let home = folder("special");
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let suite = argument(&suite);
    let place = |name: &str| home.join(name).display().to_string();
    pipe(&home.join("pipe"));
    pipe(&home.join("pipe.json"));
    pipe(&home.join("pipe.so"));
    fs::create_dir_all(home.join("folder.json")).unwrap();
    for (name, inner) in [("shards", "0.tar"), ("attack", "train.csv"), ("bundle/poisoned/seed-0", "poison.json")] {
        fs::create_dir_all(home.join(name)).unwrap();
        pipe(&home.join(name).join(inner));
    }
    let of_trial = trial(Path::new(suite), &[], "clean/clip/seed-0");
    let mut of_trial = serde_json::to_value(of_trial).unwrap();
    for (name, init) in [("pipe", place("pipe")), ("folder", place("shards")), ("zero", "/dev/zero".into())] {
        of_trial["recipe"]["init"] = init.into();
        fs::write(home.join(format!("init-{name}.json")), of_trial.to_string()).unwrap();
    }
    let table =
        |table: &str| format!("data={{kind = 'csv', path = '{table}', path_column = 'p', caption_column = 'c'}}");
    let shards = |path: &str| format!("data={{kind = 'webdataset', path = '{path}'}}");
    let classed =
        format!("data={{kind = 'webdataset', path = 'tests/fixtures/clipart', class_file = '{}'}}", place("pipe"));
    let set = |setting: String| {
        vec!["run".into(), suite.into(), "--dry-run".into(), "--out".into(), place("out"), "--set".into(), setting]
    };
    let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    let (pipe, so, file) = (place("pipe"), place("pipe.so"), place("pipe.json"));
    let cases: Vec<(Vec<String>, &str)> = vec![
        (words(&["run", &pipe, "--out", &place("out")]), "a named pipe"),
        (words(&["run", &place("shards"), "--out", &place("out")]), "a folder"),
        (words(&["run", "/dev/zero", "--out", &place("out")]), "a device"),
        (words(&["trial", &pipe, "--out", &place("out")]), "a named pipe"),
        (words(&["trial", &place("init-pipe.json"), "--out", &place("out")]), "a named pipe"),
        (words(&["trial", &place("init-folder.json"), "--out", &place("out")]), "a folder"),
        (words(&["trial", &place("init-zero.json"), "--out", &place("out")]), "a device"),
        (words(&["--plugin", &so, "list"]), "a named pipe"),
        (words(&["--plugin", &place("shards"), "list"]), "a folder"),
        (words(&["eval", "--weights", &pipe, "--suite", suite, "--seed", "0"]), "a named pipe"),
        (words(&["check", &format!("{FROZEN}/out"), "--against", &pipe]), "a named pipe"),
        (words(&["check", &format!("{FROZEN}/out"), "--against", &place("shards")]), "a folder"),
        (words(&["poison", "verify", "--files", &place("bundle")]), "holds no poison"),
        (words(&["new", "suite", &place("new.toml"), "--data", &pipe]), "a named pipe"),
        (set(format!("model={file}")), "a named pipe"),
        (set(format!("model={}", place("folder.json"))), "a folder"),
        (set(format!("recipe.init={pipe}")), "a named pipe"),
        (set(format!("classes={file}")), "a named pipe"),
        (set(classed), "a named pipe"),
        (set(table(&pipe)), "a named pipe"),
        (set(table(&place("shards"))), "a folder"),
        (set(shards(&pipe)), "Not a directory"),
        (set(shards(&place("shards"))), "not a regular file"),
        (
            set(format!("attacks.targeted={{plugin = 'precomputed', folder = '{}', target = 'x'}}", place("attack"))),
            "a named pipe",
        ),
        (
            set(format!("attacks.targeted={{plugin = 'blended', pattern = 'picture', picture = '{pipe}'}}")),
            "a named pipe",
        ),
    ];
    for (arguments, what) in cases {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ran = ended(&arguments);
        assert!(ran.code == Some(2) && ran.stderr.contains(what), "{arguments:?} should say `{what}`: {ran:?}");
    }
}

#[test]
fn special_files_among_results_and_images_are_refused_too() {
    let home = folder("special-results");
    let out = home.join("out");
    for file in ["suite.json", "results.jsonl", "trials/poisoned/clip/seed-0/scores.jsonl"] {
        for special in ["pipe", "folder"] {
            let _ = fs::remove_dir_all(&out);
            copy(Path::new(&format!("{FROZEN}/out")), &out);
            let place = pipe(&out.join(file));
            if special == "folder" {
                fs::remove_file(&place).unwrap();
                fs::create_dir(&place).unwrap();
            }
            for command in ["table", "compare", "report"] {
                let ran = ended(&[command, argument(&out)]);
                let named = ran.stderr.contains(file.rsplit('/').next().unwrap());
                assert!(ran.code == Some(2) && named, "{command}, {file} is a {special}: {ran:?}");
            }
        }
    }
    pipe(&home.join("a.png"));
    fs::write(home.join("t.csv"), "p,c\na.png,a toaster\n").unwrap();
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let data = format!(
        "data={{kind = 'csv', path = '{}', path_column = 'p', caption_column = 'c'}}",
        home.join("t.csv").display()
    );
    let ran = ended(&["run", argument(&suite), "--out", argument(&home.join("run")), "--set", &data]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
}

#[test]
fn what_standard_output_does_not_take_is_an_error() {
    let home = folder("full");
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let out = home.join("out");
    copy(Path::new(&format!("{FROZEN}/out")), &out);
    fs::create_dir(out.join("store")).unwrap();
    let (suite, out, more) = (argument(&suite), argument(&out), home.join("more").display().to_string());
    let bundle = format!("{FROZEN}/bundle");
    let commands: &[&[&str]] = &[
        &["--help"],
        &["--version"],
        &["poison", "make", "--help"],
        &["list"],
        &["list", "--json"],
        &["describe", "suite"],
        &["schema"],
        &["doctor"],
        &["data", "list"],
        &["table", out],
        &["table", out, "--format", "csv"],
        &["table", out, "--format", "latex"],
        &["compare", out],
        &["compare", out, "--json"],
        &["report", out],
        &["store", out],
        &["tensorboard", out, "--out", &more],
        &["poison", "verify", "--files", &bundle],
        &["run", suite, "--out", &more, "--dry-run"],
        &["plan", suite],
    ];
    for arguments in commands {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
        command.args(*arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = command.stdin(Stdio::null()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        let why = "error: standard output: No space left on device";
        assert!(ran.status.code() == Some(2) && said.contains(why), "{arguments:?}: {ran:?}");
        // Neither is a full standard error a panic.
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ran = command.stdout(Stdio::null()).stderr(full).status().unwrap();
        assert_eq!(ran.code(), Some(0), "{arguments:?} with a full standard error");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for arguments in [["describe", "suite"].as_slice(), &["schema"], &["--help"]] {
        let mut child = start(arguments);
        drop(child.stdout.take());
        let ran = end(child);
        assert!(ran.code == Some(0) && ran.stderr.is_empty(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn no_text_of_a_file_reaches_the_terminal_as_a_command() {
    const HOSTILE: &str = "\u{1b}[2J\u{202e}\u{9b}1m=1+1";
    let home = folder("escapes");
    let out = home.join("out");
    copy(Path::new(&format!("{FROZEN}/out")), &out);
    let mut suite: Value = serde_json::from_str(&fs::read_to_string(out.join("suite.json")).unwrap()).unwrap();
    suite["attacks"][HOSTILE] = json!({ "plugin": "badnet" });
    suite["arenas"]["poisoned"].as_array_mut().unwrap().push(HOSTILE.into());
    fs::write(out.join("suite.json"), suite.to_string()).unwrap();
    let out = argument(&out);
    let commands: [&[&str]; 6] = [
        &["table", out],
        &["table", out, "--format", "csv"],
        &["table", out, "--format", "markdown"],
        &["table", out, "--format", "latex"],
        &["describe", HOSTILE],
        &["run", HOSTILE, "--out", out],
    ];
    let mut shown = 0;
    for arguments in commands {
        let ran = gauntlet(arguments);
        let text = ran.stdout + &ran.stderr;
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}']), "{arguments:?}: {text:?}");
        shown += usize::from(text.contains("u202e"));
    }
    assert!(shown >= 4, "it is shown, as text: {shown}");
}

#[test]
fn a_table_is_shown_without_writing_to_the_folder() {
    let out = folder("unwritten").join("out");
    copy(Path::new(&format!("{FROZEN}/out")), &out);
    fs::remove_file(out.join("table.txt")).unwrap();
    let ran = gauntlet(&["table", argument(&out)]);
    assert!(ran.code == Some(0) && !out.join("table.txt").exists(), "{ran:?}");
}

#[test]
fn a_trial_file_meets_the_ranges_that_a_suite_meets() {
    let home = folder("ranges");
    let suite = world_suite(&home, 1, "[0]", "clip = {}");
    let whole = serde_json::to_value(trial(&suite, &[], "clean/clip/seed-0")).unwrap();
    let changes = [
        ("/threads", json!(-1), "threads"),
        ("/threads", json!(2_000_000_000), "threads"),
        ("/heldout", json!(7.5), "heldout"),
        ("/cache_gb", json!(-1.0), "cache_gb"),
        ("/recipe/epochs", json!(0), "recipe.epochs"),
        ("/recipe/batch", json!(1), "recipe.batch"),
        ("/recipe/learning_rate", json!(-1.0), "recipe.learning_rate"),
        ("/recipe/betas", json!([0.9, 1.0]), "recipe.betas"),
        ("/recipe/clip_norm", json!(-1.0), "recipe.clip_norm"),
        ("/recipe/epsilon", json!(-1.0), "recipe.epsilon"),
        ("/recipe/weight_decay", json!(-1.0), "recipe.weight_decay"),
        ("/model/text_cfg/context_length", json!(1u64 << 32), "text_cfg.context_length"),
        ("/model/vision_cfg/image_size", json!(-32), "vision_cfg.image_size"),
    ];
    for (place, value, key) in changes {
        let mut changed = whole.clone();
        *changed.pointer_mut(place).unwrap() = value.clone();
        let file = home.join("trial.json");
        fs::write(&file, changed.to_string()).unwrap();
        let ran = ended(&["trial", argument(&file), "--out", argument(&home.join("out"))]);
        let named = ran.stderr.contains(key) && ran.stderr.contains("trial.json");
        assert!(ran.code == Some(2) && named && !ran.stderr.contains("panicked"), "{place} = {value}: {ran:?}");
        // A suite refuses the same; the model is a file there.
        let setting = format!("{}={value}", place[1..].replace('/', "."));
        if !place.starts_with("/model") {
            let ran =
                ended(&["run", argument(&suite), "--dry-run", "--out", argument(&home.join("run")), "--set", &setting]);
            assert!(ran.code == Some(2) && ran.stderr.contains(key), "--set {setting}: {ran:?}");
        }
    }
}

/// libtorch and Rust abort if they get no memory.
#[test]
fn an_abort_is_a_line_of_error_and_an_exit_code() {
    let home = folder("abort");
    let suite = world_suite(&home, 500, "[0]", "clip = {}");
    let out = home.join("out");
    fs::write(home.join("t.json"), serde_json::to_string(&trial(&suite, &[], "clean/clip/seed-0")).unwrap()).unwrap();
    let child = start(&["trial", argument(&home.join("t.json")), "--out", argument(&out)]);
    wait_until("a first line of losses", || out.join("metrics.jsonl").exists());
    signal(&child, "ABRT");
    let ran = end(child);
    assert!(ran.code == Some(1) && ran.stderr.contains("error: aborted"), "{ran:?}");
}
