//! Files written by `torch.save`: a zip archive with a pickle (`pickle.rs`), which describes
//! tensors, and the numbers of each storage in a separate entry.

use super::pickle::{Pickle, Storage};
use std::collections::BTreeMap;
use std::io::{Read, Seek};
use tch::{Kind, Tensor};
use zip::{CompressionMethod, ZipArchive};

/// Maximum size of a pickle in bytes; that of a model with a thousand tensors and its optimizer is
/// smaller than 1 << 20.
const MOST: u64 = 64 << 20;

/// The tensors of the table in a PyTorch file: at its top, or under `state_dict`.
///
/// # Errors
/// If the file holds no such table, or is damaged; the error names the fault.
pub fn read(file: impl Read + Seek) -> Result<BTreeMap<String, Tensor>, String> {
    let mut archive =
        ZipArchive::new(file).map_err(|error| format!("is a zip file that cannot be read ({error}); is it whole?"))?;
    let names = archive.file_names().map(|name| name.map(|name| name.into_owned())).collect::<Result<Vec<String>, _>>();
    let names = names.map_err(|error| format!("is a zip file with a name that cannot be read: {error}"))?;
    let root = root(&names)?;
    let order = format!("{root}byteorder");
    if names.contains(&order) && entry(&mut archive, &order, 16)? != b"little" {
        return Err("holds numbers with their bytes in big-endian order, which are not read".into());
    }
    let bytes = entry(&mut archive, &format!("{root}data.pkl"), MOST)?;
    let pickle = Pickle::read(&bytes).map_err(refused)?;
    let mut tensors = BTreeMap::new();
    let mut storages: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, id) in state(&pickle)? {
        let (view, storage) =
            pickle.tensor(id).ok_or_else(|| format!("`{name}` is {}, not a tensor", pickle.describe(id)))?;
        let key = pickle.key(storage);
        if !storages.contains_key(key) {
            storages.insert(key.to_string(), numbers(&mut archive, &format!("{root}data/{key}"), storage)?);
        }
        let whole = &storages[key];
        if whole.kind() != storage.kind || whole.numel() as i64 != storage.count {
            return Err(format!("`{name}` and another tensor describe storage {key} in two ways"));
        }
        let tensor = whole.f_as_strided(&view.size, &view.stride, view.offset).map_err(|error| error.to_string())?;
        tensors.insert(name.to_string(), tensor);
    }
    Ok(tensors)
}

/// The folder that holds all entries.
fn root(names: &[String]) -> Result<String, String> {
    let within = |file: &str| {
        names.iter().find_map(|name| name.strip_suffix(file)).filter(|root| root.matches('/').count() <= 1)
    };
    if names.iter().any(|name| name.contains("/code/") || name.ends_with("/constants.pkl")) {
        return Err("is a TorchScript archive: a program, which is never run here. OpenAI's released weights come as such; open_clip gives \
                    them as tensors: python -c \"import open_clip, safetensors.torch as s; \
                    s.save_model(open_clip.create_model('RN50-quickgelu', pretrained='openai'), 'model.safetensors')\""
            .into());
    }
    let root = within("data.pkl").map(str::to_string);
    root.ok_or_else(|| {
        "is a zip file, but not one of PyTorch's (it holds no `data.pkl`); if it contains weights, unpack it".into()
    })
}

/// Adds advice to the reason why a pickle was refused.
fn refused(why: String) -> String {
    format!(
        "is a PyTorch file that holds more than tensors, numbers and names: {why}. Nothing of it was run. Save the tensors alone: \
         torch.save(model.state_dict(), 'weights.pt')"
    )
}

/// The pairs of the table of tensors.
fn state<'a>(pickle: &'a Pickle) -> Result<Vec<(&'a str, usize)>, String> {
    let top = pickle
        .table(pickle.top)
        .ok_or_else(|| format!("holds {}, not a table of tensors", pickle.describe(pickle.top)))?;
    let inner = top.iter().rev().find(|(name, _)| *name == "state_dict").map(|(_, id)| *id);
    let table = match inner {
        Some(id) => pickle
            .table(id)
            .ok_or_else(|| format!("`state_dict` is {}, not a table of tensors", pickle.describe(id)))?,
        None => top,
    };
    if table.iter().any(|(_, id)| pickle.tensor(*id).is_some()) {
        return Ok(table);
    }
    let keys: Vec<String> = table.iter().take(8).map(|(name, _)| format!("`{name}`")).collect();
    Err(format!(
        "holds no tensors at its top or under `state_dict`, but {}",
        if keys.is_empty() { "nothing".into() } else { keys.join(", ") }
    ))
}

/// The numbers of a storage.
fn numbers(archive: &mut ZipArchive<impl Read + Seek>, name: &str, storage: &Storage) -> Result<Tensor, String> {
    let bytes = storage
        .count
        .checked_mul(width(storage.kind))
        .ok_or_else(|| format!("`{name}` has more elements than there can be"))?;
    let data = entry(archive, name, bytes as u64)?;
    if data.len() as i64 != bytes {
        return Err(format!("`{name}` has {} bytes, not {bytes}; is the file whole?", data.len()));
    }
    Tensor::f_from_data_size(&data, &[storage.count], storage.kind).map_err(|error| error.to_string())
}

fn width(kind: Kind) -> i64 {
    kind.elt_size_in_bytes() as i64
}

/// An entry of the archive, of at most `most` bytes. PyTorch never compresses, so no entry is
/// larger than on the disk.
fn entry(archive: &mut ZipArchive<impl Read + Seek>, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let found = archive.by_name(name).map_err(|error| format!("`{name}` cannot be read: {error}"))?;
    if found.compression() != CompressionMethod::Stored {
        return Err(format!("`{name}` is compressed, which PyTorch never does; another program packed it again"));
    }
    if found.size() > most {
        return Err(format!("`{name}` has {} bytes, more than the {most} that it may", found.size()));
    }
    let mut bytes = Vec::new();
    found.take(most + 1).read_to_end(&mut bytes).map_err(|error| format!("`{name}`: {error}"))?;
    Ok(bytes)
}
