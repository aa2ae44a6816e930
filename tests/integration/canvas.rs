//! Size and sharpness do not distinguish poison from clean rows: a row of any source goes through
//! one canvas, and the patch is stamped onto that canvas. The images of the clip-art excerpt have
//! 75 sizes, so an image that is resized twice would be noticed.

use crate::program::{clipart_suite, trial};
use gauntlet::corpus::{Corpus, RowOrigin, Shape};
use gauntlet::data::tokenize::Tokenizer;
use gauntlet::defense::Phase;
use gauntlet::poison::PreparedData;
use gauntlet::progress::Silent;
use gauntlet::run::RunContext;
use gauntlet::tch::{Device, Kind, Tensor};
use gauntlet::train::load;
use gauntlet::{DataRow, Edit, ImageSource, TrainRow, Trial};
use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;

#[test]
fn size_and_sharpness_do_not_tell_poison_from_clean_rows() {
    gauntlet_attacks::link();
    gauntlet_defenses::link();
    gauntlet_evaluators::link();
    let shard = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clipart/00000.tar")).unwrap();
    let text = String::from_utf8_lossy(&shard);
    let sizes: HashSet<&str> = text.split("\"width\": ").skip(1).filter_map(|rest| rest.split('}').next()).collect();
    assert!(sizes.len() > 50, "the excerpt has images of many sizes: {sizes:?}");

    let home = tempfile::tempdir().unwrap();
    let trial = trial(&clipart_suite(home.path(), "clip = {}"), &[], "poisoned/clip/seed-0");
    let stop = AtomicBool::new(false);
    let prepared_data = trial.prepare(home.path(), &RunContext::new(&Silent, &stop)).unwrap();
    let shown = shown(&trial, &prepared_data);
    assert_eq!((shown.size()[1..].to_vec(), shown.kind()), (vec![3, 32, 32], Kind::Uint8), "one shape for all");

    let (mut added, mut stamped) = (0, 0);
    let tokenizer = tokenizer(&trial);
    let corpus = corpus(&trial, &prepared_data, &tokenizer);
    for (number, row) in corpus.rows().zip(&shown.unbind(0)) {
        match corpus.row(number).origin {
            RowOrigin::Clean(source) => {
                assert!(row.equal(&source_canvas(&prepared_data, source)), "clean row {source}")
            }
            RowOrigin::Edit(number) => {
                let Edit { image: ImageSource::Row(source), stamped: is_stamped, .. } =
                    prepared_data.poison.edits[number].edit
                else {
                    panic!("an image from elsewhere")
                };
                let canvas = source_canvas(&prepared_data, source);
                if is_stamped {
                    let [height, width] = changed(row, &canvas);
                    assert!(
                        height <= 6 && width <= 6,
                        "a patch of 6 x 6 changed {height} x {width} pixels of row {source}"
                    );
                    stamped += 1;
                } else {
                    assert!(row.equal(&canvas), "added image {source} is its target's, bit for bit");
                    added += 1;
                }
            }
        }
    }
    assert_eq!(
        (added, stamped),
        (16, prepared_data.poison.edits.len() - 16),
        "8 targets, 2 captions each; the rest is stamped"
    );
    assert!(stamped > 5);
}

fn tokenizer(trial: &Trial) -> Tokenizer {
    Tokenizer::new(&[], trial.model.text_cfg.vocab_size).unwrap()
}

fn corpus<'a>(trial: &Trial, prepared_data: &'a PreparedData, tokenizer: &'a Tokenizer) -> Corpus<'a> {
    let shape = Shape { batch: 32, context_length: 16 };
    Corpus::new(
        &prepared_data.data,
        &prepared_data.split,
        &prepared_data.poison,
        tokenizer,
        shape,
        trial.arena.seed,
        Device::Cpu,
    )
}

/// Every training row as the trainer gets it, before augmentation: u8 `[rows, 3, S, S]`.
fn shown(trial: &Trial, prepared_data: &PreparedData) -> Tensor {
    let tokenizer = tokenizer(trial);
    let corpus = corpus(trial, prepared_data, &tokenizer);
    let rows: Vec<TrainRow> = corpus.rows().collect();
    load::load(&corpus, &rows, 1, &Phase::default()).unwrap().images
}

fn source_canvas(prepared_data: &PreparedData, row: DataRow) -> Tensor {
    prepared_data.data.canvas.gather(&[row]).unwrap().get(0)
}

/// Height and width of the rectangle outside of which two canvases `[3, S, S]` are equal.
fn changed(a: &Tensor, b: &Tensor) -> [i64; 2] {
    let places = a.ne_tensor(b).any_dim(0, false).nonzero(); // [pixels, 2]
    assert!(places.size()[0] > 0, "nothing is stamped");
    let extent = places.amax([0].as_slice(), false) - places.amin([0].as_slice(), false) + 1;
    Vec::<i64>::try_from(extent).unwrap().try_into().unwrap()
}
