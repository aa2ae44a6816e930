//! The files to evaluate the model of another trainer: held-out images, stamped images, targets,
//! the goals of attacks, classes and prompts.

use super::Job;
use super::train::wrong;
use gauntlet::data::decode::png;
use gauntlet::data::ordered::{cores, ordered};
use gauntlet::evaluator::victims;
use gauntlet::poison::{PreparedAttack, bytes};
use gauntlet::{DataRow, Error, Goal, Progress, Result};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fs;
use std::ops::Range;
use std::path::Path;
use tch::Tensor;

/// Number of images that are made, and compressed by one thread, at a time.
const CHUNK: usize = 64;

/// Name of an image, and its further columns.
type Named = (String, Vec<String>);

/// Writes all files for the evaluation.
pub fn write(job: &Job) -> Result<()> {
    let data = &job.prepared_data.data;
    let rows = test_rows(job);
    images(job, "test", &["class"], named(job, &rows), |range| data.canvas.gather(&rows[range]))?;
    let mut goals = Map::new();
    for prepared in &job.prepared_data.attacks {
        let [stamped, targeted] = ["stamped", "targets"].map(|kind| format!("{kind}/{}", prepared.label));
        match &prepared.goal {
            Goal::Class(wanted) | Goal::DualKey(wanted) => {
                let victims = victims(data, &rows, *wanted, job.arena.seed);
                let stamp = |range: Range<usize>| prepared.stamp_test(data, &victims[range], job.arena.seed);
                images(job, &stamped, &["class"], named(job, &victims), stamp)?;
            }
            Goal::Files { class, images: files } => {
                let files: Vec<_> = files.iter().filter(|file| file.truth != *class).collect();
                let names = files.iter().enumerate();
                let names =
                    names.map(|(number, file)| (format!("{number:08}"), vec![label(job, Some(file.truth))])).collect();
                let canvas = |range: Range<usize>| {
                    let canvases = files[range].iter().map(|file| prepared.image(&file.file, job.arena.size));
                    Ok(Tensor::stack(&canvases.collect::<Result<Vec<_>>>()?, 0))
                };
                images(job, &stamped, &["class"], names, canvas)?;
            }
            Goal::Pairs(targets) => {
                let rows: Vec<DataRow> = targets.iter().map(|target| target.row).collect();
                let line = |target: &gauntlet::Target| vec![label(job, target.truth), label(job, Some(target.class))];
                let names = targets.iter().map(|target| (format!("{:08}", target.row), line(target))).collect();
                images(job, &targeted, &["class", "wanted"], names, |range| data.canvas.gather(&rows[range]))?;
            }
            Goal::Captions(_) | Goal::Phrase(_) => {}
        }
        goals.insert(prepared.label.clone(), goal(job, prepared)?);
    }
    save(job.folder, "goals.json", pretty(&Value::Object(goals)).as_bytes())?;
    let classes = &data.classes;
    let file = classes.file();
    save(job.folder, "classes.json", pretty(&json!(file)).as_bytes())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("plain data") + "\n"
}

/// Names of the images of rows, and their classes.
fn named(job: &Job, rows: &[DataRow]) -> Vec<Named> {
    let class = |row: DataRow| label(job, job.prepared_data.data.class_of(row));
    rows.iter().map(|row| (format!("{row:08}"), vec![class(*row)])).collect()
}

/// The same rows as [`gauntlet::EvalContext::test_rows`]: held out, readable, and no attack's
/// target.
fn test_rows(job: &Job) -> Vec<DataRow> {
    let (split, canvas) = (&job.prepared_data.split, &job.prepared_data.data.canvas);
    let targets: HashSet<DataRow> =
        job.prepared_data.attacks.iter().flat_map(|prepared| prepared.goal.rows()).collect();
    split.heldout.iter().copied().filter(|row| !targets.contains(row) && canvas.readable(*row)).collect()
}

/// The label of a class; empty for an image without one.
fn label(job: &Job, class: Option<u32>) -> String {
    class.map_or_else(String::new, |class| job.prepared_data.data.classes.labels[class as usize].clone())
}

/// A goal with names instead of numbers, and the prompts if its trigger is in the text.
fn goal(job: &Job, prepared: &PreparedAttack) -> Result<Value> {
    let mut about = prepared.goal.describe(|class| label(job, Some(class)));
    if prepared.goal.has_text_trigger() {
        about["templates"] = json!(said(job, prepared)?);
    }
    about["poisons"] = json!(job.arena.poisoning.contains(&prepared.label));
    Ok(about)
}

/// The prompts with the trigger in them.
fn said(job: &Job, prepared: &PreparedAttack) -> Result<Vec<String>> {
    let templates = job.prepared_data.data.classes.templates.iter().zip(0..);
    templates.map(|(template, number)| prepared.apply_test_trigger(template, number, job.arena.seed)).collect()
}

/// Writes a folder of images and its `test.csv`: column `image`, and `columns`. `rows` are names
/// and further columns; `canvases` makes the images of a range of rows on this thread.
fn images(
    job: &Job,
    name: &str,
    columns: &[&str],
    rows: Vec<Named>,
    canvases: impl Fn(Range<usize>) -> Result<Tensor>,
) -> Result<()> {
    let (folder, size) = (job.folder.join(name), job.arena.size);
    fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    let path = folder.join("test.csv");
    let mut table = csv::Writer::from_path(&path).map_err(wrong(&path))?;
    table.write_record([&["image"][..], columns].concat()).map_err(wrong(&path))?;
    let chunks = (0..rows.len()).step_by(CHUNK).map(|start| {
        let range = start..rows.len().min(start + CHUNK);
        canvases(range).and_then(|canvases| bytes(&canvases))
    });
    let mut done = 0;
    ordered(chunks, vec![|pixels| compress(pixels, size); cores()], |files| {
        for file in files? {
            let (name, columns) = &rows[done];
            save(&folder, &format!("{name}.png"), &file)?;
            let record = std::iter::once(format!("{name}.png")).chain(columns.iter().cloned());
            table.write_record(record).map_err(wrong(&path))?;
            done += 1;
        }
        job.bar.report(name, done as u64, rows.len() as u64, "images");
        Ok::<_, Error>(())
    })?;
    table.flush().map_err(Error::io(&path))
}

/// Writes a file of the export's temporary folder.
pub fn save(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, bytes).map_err(Error::io(&path))
}

/// PNG files of canvases.
fn compress(pixels: Result<Vec<u8>>, size: u32) -> Result<Vec<Vec<u8>>> {
    let pixels = pixels?;
    Ok(pixels.chunks_exact(3 * (size * size) as usize).map(|canvas| png::encode(canvas, size)).collect())
}
