//! Tensors by name, as safetensors. A file that gauntlet writes carries a hash of its content, so
//! that a change is detected when it is read. Files of others have none.

use super::{hash_bytes, write_atomic};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// The metadata key of the hash.
const HASH: &str = "gauntlet.blake3";

/// Writes tensors (f32, i64 or u8) and string metadata as safetensors: to a temporary file beside
/// it, then renamed.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &HashMap<String, String>,
) -> Result<()> {
    let bytes: Vec<(&String, Dtype, Vec<usize>, Vec<u8>)> = tensors.iter().map(to_bytes).collect::<Result<_>>()?;
    let views = bytes.iter().map(|(name, dtype, shape, data)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).expect("shape and bytes come from one tensor"))
    });
    let parts = bytes.iter().map(|(name, dtype, shape, data)| (name.as_str(), *dtype, shape.as_slice(), &data[..]));
    let mut metadata = metadata.clone();
    metadata.insert(HASH.into(), hash(parts, &metadata));
    let file = safetensors::serialize(views, Some(metadata)).map_err(|error| Error::invalid(path.display(), error))?;
    write_atomic(path, &file)
}

fn to_bytes<'a>((name, tensor): (&'a String, &Tensor)) -> Result<(&'a String, Dtype, Vec<usize>, Vec<u8>)> {
    let (kind, dtype, width) = match tensor.kind() {
        Kind::Int64 => (Kind::Int64, Dtype::I64, 8),
        Kind::Uint8 => (Kind::Uint8, Dtype::U8, 1),
        _ => (Kind::Float, Dtype::F32, 4),
    };
    let tensor = tensor.to_device(Device::Cpu).to_kind(kind).contiguous();
    let mut data = vec![0u8; tensor.numel() * width];
    tensor.f_copy_data_u8(&mut data, tensor.numel())?;
    Ok((name, dtype, tensor.size().iter().map(|&side| side as usize).collect(), data))
}

/// Hash of the metadata, and of names, kinds, shapes and bytes of the tensors, which must be sorted
/// by name.
fn hash<'a>(
    tensors: impl Iterator<Item = (&'a str, Dtype, &'a [usize], &'a [u8])>,
    metadata: &HashMap<String, String>,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    };
    let metadata: BTreeMap<_, _> = metadata.iter().filter(|(key, _)| *key != HASH).collect();
    add(format!("{metadata:?}").as_bytes());
    for (name, dtype, shape, data) in tensors {
        add(name.as_bytes());
        add(format!("{dtype:?} {shape:?}").as_bytes());
        add(hash_bytes(data).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Parses a file, and compares it with its hash if it has one. Returns its tensors, its metadata
/// without the hash, and whether there was one.
fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<(SafeTensors<'a>, HashMap<String, String>, bool)> {
    let wrong = |why: String| Error::invalid(path.display(), why);
    let broken = |error| wrong(format!("is not a safetensors file: {error}; if gauntlet wrote it, delete it"));
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let mut metadata = header.metadata().clone().unwrap_or_default();
    let Some(written) = metadata.remove(HASH) else { return Ok((file, metadata, false)) };
    let mut tensors = file.tensors();
    tensors.sort_by(|(one, _), (other, _)| one.cmp(other));
    let parts = tensors.iter().map(|(name, view)| (name.as_str(), view.dtype(), view.shape(), view.data()));
    if hash(parts, &metadata) != written {
        let why = "was changed after it was written (its content does not match its hash); delete it, or copy it again";
        return Err(wrong(why.into()));
    }
    Ok((file, metadata, true))
}

/// Compares a safetensors file with its hash; `false` if it has none.
///
/// # Errors
/// If it was changed after it was written.
pub fn check_safetensors(path: &Path) -> Result<bool> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    parse(path, &bytes).map(|(_, _, hashed)| hashed)
}

/// Reads a safetensors file: tensors by name and its string metadata. Nothing in the file is
/// executed.
///
/// # Errors
/// If gauntlet wrote it and it was changed since.
pub fn read_safetensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let wrong = |why: String| Error::invalid(path.display(), why);
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let (file, metadata, _) = parse(path, &bytes)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let kind = match view.dtype() {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F64 => Kind::Double,
            Dtype::I64 => Kind::Int64,
            Dtype::U8 => Kind::Uint8,
            other => return Err(wrong(format!("`{name}` holds {other:?}, which is not supported"))),
        };
        let shape: Vec<i64> = view.shape().iter().map(|&side| side as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)?;
        let tensor = if tensor.is_floating_point() { tensor.to_kind(Kind::Float) } else { tensor };
        tensors.insert(name, tensor);
    }
    Ok((tensors, metadata))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn every_flipped_bit_of_a_written_file_is_found_and_a_foreign_file_is_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("x.safetensors");
        let tensors = BTreeMap::from([
            ("b".to_string(), Tensor::from_slice(&[1i64, 2])),
            ("a".to_string(), Tensor::from_slice(&[0.5f32, -1.0, 2.0])),
        ]);
        let metadata = HashMap::from([("one".to_string(), "1".to_string()), ("two".to_string(), "2".to_string())]);
        write_safetensors(&path, &tensors, &metadata).unwrap();
        let (read, said) = read_safetensors(&path).unwrap();
        assert!(said == metadata && read["a"].equal(&tensors["a"]) && check_safetensors(&path).unwrap());
        let good = fs::read(&path).unwrap();
        let name = good.windows(HASH.len()).position(|part| part == HASH.as_bytes()).unwrap();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(&path, &bad).unwrap();
            // A file whose key has another name counts as one of others; its tensors are whole.
            match read_safetensors(&path) {
                Ok((read, _)) => {
                    let padding = good[place] == b' ';
                    assert!((name..name + HASH.len()).contains(&place) || padding, "bit of byte {place}");
                    assert!(read["a"].equal(&tensors["a"]) && read["b"].equal(&tensors["b"]));
                }
                Err(error) => assert!(error.chain().contains("delete it"), "byte {place}: {}", error.chain()),
            }
        }
        let foreign = safetensors::serialize([("x", TensorView::new(Dtype::U8, vec![1], &[7]).unwrap())], None);
        fs::write(&path, foreign.unwrap()).unwrap();
        assert_eq!((read_safetensors(&path).unwrap().0.len(), check_safetensors(&path).unwrap()), (1, false));
    }
}
