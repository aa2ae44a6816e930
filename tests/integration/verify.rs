//! `gauntlet verify`: one flipped bit in any stored file is found and named; and what a trial makes
//! of damaged or exchanged files.

use crate::program::{Ran, argument, folder, gauntlet, world_suite};
use gauntlet::data::files::{read_safetensors, write_safetensors};
use std::fs;
use std::path::{Path, PathBuf};

fn verify(folder: &Path) -> Ran {
    gauntlet(&["verify", argument(folder)])
}

/// The largest file below `folder` whose path has this text and ending.
fn largest(folder: &Path, entry: &str, ending: &str) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.to_string_lossy().into_owned();
            match path.is_dir() {
                true => folders.push(path),
                false if name.contains(entry) && name.ends_with(ending) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    let size = |path: &PathBuf| path.metadata().unwrap().len();
    found.into_iter().max_by_key(size).unwrap_or_else(|| panic!("no {entry} {ending}"))
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    // Past the header of a safetensors file, which may hold spaces.
    let place = bytes.len() * 3 / 4;
    bytes[place] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn one_flipped_bit_in_any_stored_file_is_found_and_a_trial_refuses_it() {
    let home = folder("verify");
    let (suite, out) = (world_suite(&home, 1, "[0]", "clip = {}"), home.join("run"));
    let run = || gauntlet(&["run", argument(&suite), "--out", argument(&out), "--set", "recipe.keep_checkpoint=true"]);
    let ran = run();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let whole = verify(&out);
    assert_eq!(whole.code, Some(0), "{whole:?}");
    assert!(whole.stdout.contains(": 0 damaged, 0 unchecked"), "{}", whole.stdout);

    let stored = [
        ("/index-", "rows.bin"),
        ("/canvas-", "pixels.u8"),
        ("/canvas-", "hashes.bin"),
        ("/poison-", "edits.jsonl"),
        ("/poison-", "pixels.safetensors"),
        ("/undefended-", "model.safetensors"),
        ("/undefended-", "spent.json"),
        ("/trials/", "checkpoint.safetensors"),
        ("/trials/", "model.safetensors"),
        ("/trials/", "scores.jsonl"),
        ("/trials/", "cases.jsonl"),
    ];
    let damaged: Vec<(PathBuf, Vec<u8>)> = stored
        .map(|(entry, ending)| {
            let path = largest(&out, entry, ending);
            let before = fs::read(&path).unwrap();
            flip(&path);
            (path, before)
        })
        .into();
    let found = verify(&out);
    assert_eq!(found.code, Some(1), "{found:?}");
    for (path, _) in &damaged {
        let told = format!("damaged: {}: was changed after it was written", path.display());
        assert!(found.stdout.contains(&told), "{}: {}", path.display(), found.stdout);
    }
    damaged.iter().for_each(|(path, before)| fs::write(path, before).unwrap());
    assert_eq!(verify(&out).code, Some(0));

    // Other pixels with a hash of their own: only the digest tells.
    let pixels = largest(&out, "/poison-", "pixels.safetensors");
    let before = fs::read(&pixels).unwrap();
    let (mut tensors, metadata) = read_safetensors(&pixels).unwrap();
    let other = tensors["pixels"].bitwise_not();
    tensors.insert("pixels".into(), other);
    write_safetensors(&pixels, &tensors, &metadata).unwrap();
    let found = verify(&out.join("store"));
    assert!(found.code == Some(1) && found.stdout.contains("edits and pixels make digest"), "{found:?}");
    fs::write(&pixels, &before).unwrap();

    flip(&pixels);
    fs::remove_dir_all(out.join("trials")).unwrap();
    fs::remove_file(out.join("results.jsonl")).unwrap();
    let refused = run();
    let said = format!("{}{}", refused.stderr, refused.stdout);
    assert!(refused.code != Some(0) && said.contains("pixels.safetensors: was changed after it was written"), "{said}");
}
