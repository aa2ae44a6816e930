//! `pictures.tar` of a bundle: a webdataset shard with the canvas of every edit, in order, as it is
//! trained on: `NNNNNN.png`, `NNNNNN.txt` (the caption) and `NNNNNN.json` (its edit).

use super::bundle::{About, damaged, plain};
use super::{Poison, Poisoned};
use crate::data::decode::png;
use crate::data::ordered::{cores, ordered};
use crate::data::regular;
use crate::data::webdataset::shard::ShardWriter;
use crate::{DataRow, Error, Progress, Result};
use serde::Serialize;
use std::io::{BufReader, Read};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Canvases that a thread compresses or reads at a time.
const CHUNK: usize = 64;

/// Maximum size of a member of the shard, in bytes.
const MOST: u64 = 256 << 20;

/// The contents of `NNNNNN.json`.
#[derive(Serialize)]
struct Label<'a> {
    attack: &'a str,
    class: u32,
    class_name: &'a str,
    stamped: bool,
    /// The training row that it replaces.
    replaces: Option<DataRow>,
    /// The row, or file of the attack, that the unstamped image comes from.
    #[serde(rename = "picture")]
    image: &'a crate::ImageSource,
}

fn label(Poisoned { attack, edit }: &Poisoned, about: &About) -> String {
    let class_name = &about.classes[edit.class as usize];
    let (class, stamped, replaces, image) = (edit.class, edit.stamped, edit.replaces, &edit.image);
    super::json(&Label { attack, class, class_name, stamped, replaces, image })
}

/// Writes the shard.
pub(super) fn write(path: &Path, poison: &Poison, about: &About, progress: &dyn Progress) -> Result<()> {
    let (size, total) = (about.arena.size, poison.edits.len());
    let mut shard = ShardWriter::create(path)?;
    let chunks = (0..total).step_by(CHUNK).map(|start| {
        let count = CHUNK.min(total - start) as i64;
        bytes(&poison.pixels.narrow(0, start as i64, count))
    });
    let compress = |canvases: Result<Vec<u8>>| {
        let canvases = canvases?;
        Ok(canvases
            .chunks_exact(3 * (size * size) as usize)
            .map(|canvas| png::encode(canvas, size))
            .collect::<Vec<_>>())
    };
    let mut edits = poison.edits.iter().enumerate();
    ordered(chunks, vec![compress; cores()], |images: Result<Vec<Vec<u8>>>| {
        for (png, (number, edit)) in images?.iter().zip(edits.by_ref()) {
            shard.add(&format!("{number:06}.png"), png)?;
            shard.add(&format!("{number:06}.txt"), edit.edit.caption.as_bytes())?;
            shard.add(&format!("{number:06}.json"), label(edit, about).as_bytes())?;
            progress.report("poison", number as u64 + 1, total as u64, "edits");
        }
        Ok::<_, Error>(())
    })?;
    shard.finish()
}

/// Reads the canvases u8 `[edits, 3, S, S]`; captions and labels next to them must match the edits.
pub(super) fn read(path: &Path, edits: &[Poisoned], about: &About) -> Result<Tensor> {
    plain(path)?;
    let file = regular::open(path).map_err(Error::io(path))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    let mut members = archive.entries().map_err(Error::io(path))?;
    let side = i64::from(about.arena.size);
    let pixels = Tensor::f_empty([edits.len() as i64, 3, side, side], (Kind::Uint8, Device::Cpu))?;
    let mut next = |name: String| -> Result<Vec<u8>, String> {
        let member = members.next().ok_or(format!("it ends before {name}"))?.map_err(|error| error.to_string())?;
        let found = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        if found != name {
            return Err(format!("it has `{found}` where {name} belongs"));
        }
        let mut bytes = Vec::new();
        member.take(MOST).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(bytes)
    };
    let mut sample = |(number, edit): (usize, &Poisoned)| {
        let image = next(format!("{number:06}.png"))?;
        if next(format!("{number:06}.txt"))? != edit.edit.caption.as_bytes() {
            return Err(format!("{number:06}.txt is not the caption in edits.jsonl"));
        }
        if next(format!("{number:06}.json"))? != label(edit, about).as_bytes() {
            return Err(format!("{number:06}.json does not match edits.jsonl"));
        }
        Ok((number, image))
    };
    let decode = |sample: Result<(usize, Vec<u8>), String>| {
        let (number, image) = sample?;
        let canvas = png::decode(&image, about.arena.size).map_err(|why| format!("{number:06}.png: {why}"))?;
        Ok((number, canvas))
    };
    let samples = edits.iter().enumerate().map(&mut sample);
    ordered(samples, vec![decode; cores()], |canvas: Result<(usize, Vec<u8>), String>| {
        let (number, canvas) = canvas.map_err(|why| damaged(path, &why))?;
        pixels.get(number as i64).copy_(&Tensor::from_slice(&canvas).view([3, side, side]));
        Ok::<_, Error>(())
    })?;
    match next("its end".into()) {
        Err(why) if why.starts_with("it ends") => Ok(pixels),
        Err(why) => Err(damaged(path, &why)),
        Ok(_) => Err(damaged(path, "it holds more than edits.jsonl")),
    }
}

/// The bytes of a u8 tensor.
///
/// # Errors
/// If it is of another kind.
pub fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let mut bytes = vec![0; tensor.numel()];
    tensor.contiguous().f_copy_data_u8(&mut bytes, tensor.numel())?;
    Ok(bytes)
}
