//! Tensors by name, as safetensors.

use super::write_atomic;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use tch::{Device, Kind, Tensor};

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
    let metadata = (!metadata.is_empty()).then(|| metadata.clone());
    let file = safetensors::serialize(views, metadata).map_err(|error| Error::invalid(path.display(), error))?;
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

/// Reads a safetensors file: tensors by name and its string metadata. Nothing in the file is
/// executed.
pub fn read_safetensors(path: &Path) -> Result<(BTreeMap<String, Tensor>, HashMap<String, String>)> {
    let wrong = |why: String| Error::invalid(path.display(), why);
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let file =
        SafeTensors::deserialize(&bytes).map_err(|error| wrong(format!("is not a safetensors file: {error}")))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|error| wrong(error.to_string()))?;
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
    Ok((tensors, header.metadata().clone().unwrap_or_default()))
}
