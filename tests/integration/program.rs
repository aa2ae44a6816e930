//! Runs the program, and writes suites so small that a trial takes a second.

use gauntlet::Trial;
use gauntlet::results::{self, Line, ScoreLine};
use gauntlet::suite::Suite;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The result of a run of the program.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end, in the root of the repository.
pub fn gauntlet(arguments: &[&str]) -> Ran {
    end(start(arguments))
}

/// Starts the program with its standard input held open.
pub fn start(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gauntlet"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).env("OMP_WAIT_POLICY", "passive");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the program to end.
pub fn end(mut child: Child) -> Ran {
    // `wait_with_output` would close the standard input, which stops a child of a suite.
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Sends a signal, by its name.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success(), "kill -s {name}");
}

/// Waits until a condition holds, for at most a minute.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "a minute has passed, and not yet: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// An empty folder that remains after the test; the next run empties it.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a suite on 300 pairs of the embedded world: 2 arenas x `defenses`, 8 steps per epoch.
pub fn world_suite(folder: &Path, epochs: u32, seeds: &str, defenses: &str) -> PathBuf {
    let data = "kind = 'world'\npairs = 300\nclasses = 6";
    write_suite(folder, data, 256, epochs, seeds, defenses)
}

/// Writes a suite on the committed excerpt of 200 clip-art images.
pub fn clipart_suite(folder: &Path, defenses: &str) -> PathBuf {
    let data = "kind = 'webdataset'\npath = 'tests/fixtures/clipart'\nclass_field = 'category'\n\
                class_file = 'suites/clipart-classes.json'";
    write_suite(folder, data, 49_408, 2, "[0]", defenses)
}

/// Writes a suite on this data.
pub fn write_suite(folder: &Path, data: &str, vocabulary: u32, epochs: u32, seeds: &str, defenses: &str) -> PathBuf {
    let (model, suite) = (folder.join("model.json"), folder.join("suite.toml"));
    let config = serde_json::json!({
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1], "width": 8, "patch_size": null, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": vocabulary, "width": 16, "heads": 2, "layers": 1},
    });
    std::fs::write(&model, config.to_string()).unwrap();
    let text = format!(
        "name = 'small'
        seeds = {seeds}
        device = 'cpu'
        heldout = 0.13
        model = '{}'
        data.{}
        recipe = {{ epochs = {epochs}, batch = 32, learning_rate = 1e-3, warmup_steps = 4, checkpoint_steps = 3 }}
        arenas.poisoned = ['targeted', 'badnet']
        [attacks]
        targeted = {{ targets = 8, captions = 2 }}
        badnet = {{ poison = {{ rate = 0.05 }}, size = 6 }}
        [defenses]
        {defenses}",
        model.display(),
        data.replace('\n', "\ndata."),
    );
    std::fs::write(&suite, text).unwrap();
    suite
}

/// One trial of a suite, with `settings` applied as by `--set`.
pub fn trial(suite: &Path, settings: &[&str], name: &str) -> Trial {
    let settings: Vec<String> = settings.iter().map(|setting| setting.to_string()).collect();
    let trials = Suite::read(suite, &settings).unwrap().trials().unwrap();
    trials.into_iter().find(|trial| trial.name() == name).unwrap()
}

/// The score lines of a file of results; cost lines, which differ from run to run, are left out.
pub fn scores(path: &Path) -> Vec<ScoreLine> {
    let lines = results::read_lines(path).unwrap().into_iter();
    lines.filter_map(|line| if let Line::Score(score) = line { Some(score) } else { None }).collect()
}

/// A path as an argument.
pub fn argument(path: &Path) -> &str {
    path.to_str().unwrap()
}
