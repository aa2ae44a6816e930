//! Resume is exact: a trial that was stopped, in any way and at any moment, ends with the bytes of
//! an uninterrupted one.
//!
//! The trial is RoCLIP's, with 8 steps of 32 rows per epoch. Every second epoch matches to a pool
//! of 100 captions, which has therefore wrapped after 4 steps.

use crate::program::{Ran, argument, end, folder, scores, signal, start, trial, wait_until, world_suite};
use gauntlet::data::files::{read_safetensors, write_safetensors};
use gauntlet::results::{self, Line};
use gauntlet::train::checkpoint::Position;
use gauntlet::train::trajectory;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::LazyLock;

/// The trial, and its files if it is not interrupted.
static WHOLE: LazyLock<Whole> = LazyLock::new(|| {
    let home = folder("resume");
    let suite = world_suite(&home, 6, "[0]", "clip = {}\nroclip = { pool = 100, every = 2, first = 2 }");
    let recorded = "evaluators={ attack-success = {}, pool-matches = {}, trajectory = { every = 4, pairs = 20 } }";
    let trial = trial(&suite, &["model=tiny", recorded], "poisoned/roclip/seed-0");
    let json = home.join("trial.json");
    fs::write(&json, serde_json::to_string_pretty(&trial).unwrap()).unwrap();
    let ran = end(go(&json, &home.join("whole"), &[]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let moments = trajectory::read(&home.join("whole/trajectory.jsonl")).unwrap();
    let epochs: BTreeSet<u32> = moments.iter().map(|moment| moment.epoch).collect();
    assert_eq!(epochs, BTreeSet::from([4, 6]), "every fourth, and the last");
    Whole { json, home }
});

struct Whole {
    json: PathBuf,
    home: PathBuf,
}

/// Starts the trial in `folder`, or continues it.
fn go(trial: &Path, folder: &Path, more: &[&str]) -> Child {
    let store = trial.with_file_name("store");
    let mut child =
        start(&[&["trial", argument(trial), "--out", argument(folder), "--store", argument(&store)], more].concat());
    // A child of a suite starts when the suite says so.
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    child
}

/// The moment of the checkpoint in `folder`.
fn position(folder: &Path) -> Option<(u32, usize)> {
    let path = folder.join("checkpoint.safetensors");
    let (_, metadata) = path.exists().then(|| read_safetensors(&path).unwrap())?;
    let position: Position = serde_json::from_str(&metadata["position"]).unwrap();
    Some((position.epoch, position.step))
}

/// Waits until the checkpoint is at `moment` or past it.
fn wait_for(folder: &Path, child: &mut Child, moment: (u32, usize)) {
    wait_until(&format!("a checkpoint at {moment:?}"), || {
        assert!(child.try_wait().unwrap().is_none(), "the trial ended before it could be stopped at {moment:?}");
        position(folder) >= Some(moment)
    });
}

impl Whole {
    /// Weights byte for byte, the matches of each epoch, the trajectory of the poison, and the
    /// scores.
    fn assert_equal(&self, folder: &Path) {
        let whole = self.home.join("whole");
        for file in ["model.safetensors", "trajectory.jsonl", "matches-002.i64", "matches-004.i64", "matches-006.i64"] {
            let same = fs::read(whole.join(file)).unwrap() == fs::read(folder.join(file)).unwrap();
            assert!(same, "{file} is another one than that of a trial that nothing stopped");
        }
        assert_eq!(scores(&whole.join("scores.jsonl")), scores(&folder.join("scores.jsonl")));
    }

    fn finish(&self, folder: &Path) {
        let ran = end(go(&self.json, folder, &[]));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        self.assert_equal(folder);
    }
}

#[test]
fn killed_at_five_moments_and_resumed_it_ends_with_the_same_weights() {
    let folder = WHOLE.home.join("killed");
    let mut in_a_wrapped_pool = 0;
    for moment in [(1, 3), (2, 4), (3, 0), (4, 5), (5, 7)] {
        let mut child = go(&WHOLE.json, &folder, &[]);
        wait_for(&folder, &mut child, moment);
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert!(!folder.join("model.safetensors").exists(), "it was over at {moment:?}");
        let (epoch, step) = position(&folder).unwrap();
        println!("killed with a checkpoint of epoch {epoch}, step {step}");
        in_a_wrapped_pool += usize::from(epoch % 2 == 0 && (4..8).contains(&step));
    }
    assert!(in_a_wrapped_pool > 0, "no kill hit the middle of an epoch whose pool had wrapped");
    WHOLE.finish(&folder);
    let metrics = |folder: PathBuf| fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics(WHOLE.home.join("whole")), metrics(folder), "steps done twice are logged once");
}

/// Regression: matches of an earlier training were kept, and counted a second time.
#[test]
fn started_over_by_deleting_its_scores_it_forgets_the_training_before() {
    let over = WHOLE.home.join("over");
    fs::create_dir(&over).unwrap();
    for file in fs::read_dir(WHOLE.home.join("whole")).unwrap().map(|file| file.unwrap().path()) {
        fs::copy(&file, over.join(file.file_name().unwrap())).unwrap();
    }
    // It no longer has a checkpoint.
    fs::remove_file(over.join("scores.jsonl")).unwrap();
    WHOLE.finish(&over);
}

/// A checkpoint is three times as large as the weights, and it is not used once the scores exist.
#[test]
fn a_finished_trial_leaves_no_checkpoint_unless_its_recipe_keeps_it() {
    let whole = WHOLE.home.join("whole");
    assert!(whole.join("model.safetensors").exists() && position(&whole).is_none());
    assert!(!fs::read_to_string(&WHOLE.json).unwrap().contains("keep_checkpoint"), "the default is not hashed");
    let suite = world_suite(&folder("resume-kept"), 6, "[0]", "clip = {}");
    let kept = trial(&suite, &["recipe.keep_checkpoint=true"], "clean/clip/seed-0");
    let json = suite.with_file_name("trial.json");
    fs::write(&json, serde_json::to_string(&kept).unwrap()).unwrap();
    let ran = end(go(&json, &suite.with_file_name("one"), &[]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(position(&suite.with_file_name("one")), Some((7, 0)));
}

/// No build trains in the same way as two builds in turn.
#[test]
fn a_trial_that_goes_on_from_another_builds_checkpoint_says_so() {
    let folder = WHOLE.home.join("builds");
    let mut child = go(&WHOLE.json, &folder, &[]);
    wait_for(&folder, &mut child, (2, 1));
    child.kill().unwrap();
    child.wait().unwrap();
    let path = folder.join("checkpoint.safetensors");
    let (tensors, mut metadata) = read_safetensors(&path).unwrap();
    let mut position: Position = serde_json::from_str(&metadata["position"]).unwrap();
    assert_eq!(position.builds.len(), 1);
    position.builds = vec!["another".into()];
    metadata.insert("position".into(), serde_json::to_string(&position).unwrap());
    write_safetensors(&path, &tensors, &metadata).unwrap();
    WHOLE.finish(&folder);
    let builds = |folder: &Path| {
        let lines = results::read_lines(&folder.join("scores.jsonl")).unwrap();
        lines.iter().find_map(|line| if let Line::Cost(cost) = line { Some(cost.builds) } else { None }).unwrap()
    };
    assert_eq!([builds(&folder), builds(&WHOLE.home.join("whole"))], [2, 1]);
}

/// If the trial was killed after its scores were written, they are kept, and the checkpoint is
/// removed. If it was killed before, it continues from the checkpoint, and trains no step.
#[test]
fn killed_between_its_scores_and_its_checkpoints_end_it_is_finished_and_before_it_goes_on() {
    let folder = WHOLE.home.join("between");
    let mut child = go(&WHOLE.json, &folder, &[]);
    wait_for(&folder, &mut child, (6, 3));
    child.kill().unwrap();
    child.wait().unwrap();
    let checkpoint = fs::read(folder.join("checkpoint.safetensors")).unwrap();
    WHOLE.finish(&folder);
    assert!(position(&folder).is_none());

    let finished = fs::read(folder.join("scores.jsonl")).unwrap();
    fs::write(folder.join("checkpoint.safetensors"), checkpoint).unwrap();
    let ran = end(go(&WHOLE.json, &folder, &[]));
    assert!(
        ran.code == Some(0) && ran.stderr.contains("note: the trial in ") && ran.stderr.contains("has finished"),
        "{ran:?}"
    );
    assert!(position(&folder).is_none() && fs::read(folder.join("scores.jsonl")).unwrap() == finished);
    assert_eq!(ran.stdout.as_bytes(), finished, "it prints the lines that are there");
}

#[test]
fn asked_to_stop_it_leaves_a_checkpoint_and_resumes_to_the_same_weights() {
    let folder = WHOLE.home.join("stopped");
    // By a signal; and by the end of standard input, as a suite stops its trials or dies.
    type Way<'a> = (&'a [&'a str], fn(&mut Child), (u32, usize));
    let ways: [Way; 3] = [
        (&[], |child| signal(child, "TERM"), (2, 1)),
        (&["--child"], |child| drop(child.stdin.take()), (2, 7)),
        (&[], |child| signal(child, "INT"), (4, 3)),
    ];
    for (arguments, stop, moment) in ways {
        let mut child = go(&WHOLE.json, &folder, arguments);
        wait_for(&folder, &mut child, moment);
        stop(&mut child);
        let Ran { code, stderr, .. } = end(child);
        assert_eq!(code, Some(130), "{stderr}");
        assert!(stderr.contains("interrupted; the same command resumes"), "{stderr}");
        assert!(position(&folder) > Some(moment), "it stops with a checkpoint of its last step");
        assert!(!folder.join("scores.jsonl").exists(), "it was over at {moment:?}");
    }
    WHOLE.finish(&folder);
}
