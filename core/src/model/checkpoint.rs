//! Reads other programs' weight files: it detects the kind of file by its contents, reads tensors
//! of safetensors and of PyTorch files (`checkpoint/torch_file.rs`) as data, and maps names to
//! open_clip's. For any other file the error names its kind and advises a remedy.
//!
//! `open_clip.rs` reads the configuration next to it.

mod pickle;
mod torch_file;

use super::open_clip::{self, Beside};
use super::{Clip, ModelConfig, names};
use crate::data::files::read_safetensors;
use crate::data::regular;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Weights read from a file, not yet in a model.
pub struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
    /// open_clip's configuration next to the file, if there is one.
    beside: Option<Beside>,
    /// Whether OpenAI released it: only those files have three numbers next to the tensors.
    from_openai: bool,
    /// Remarks on how it was read.
    pub notes: Vec<String>,
}

/// Prefixes that a wrapper of a model adds to every name: data-parallel training, and
/// `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// Numbers stored next to the tensors in OpenAI's releases.
const OPENAI: [&str; 3] = ["input_resolution", "context_length", "vocab_size"];

/// Parts of file and folder names of weights that were trained with QuickGELU, according to
/// open_clip's table of released weights.
const QUICK: [&str; 5] = ["quickgelu", "openai", "metaclip", "dfn2b", "dfn5b"];

impl Checkpoint {
    /// Reads weights. Nothing in the file is executed.
    ///
    /// # Errors
    /// If the file holds no readable tensors; the error names the kind of file and advises a
    /// remedy.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |why: String| Error::invalid(path.display().to_string(), why);
        let mut tensors = match kind(path)? {
            Kind::Safetensors => read_safetensors(path)?.0,
            Kind::Zip => torch_file::read(regular::open(path).map_err(Error::io(path))?).map_err(wrong)?,
            Kind::Other(why) => return Err(wrong(why)),
        };
        let mut notes = Vec::new();
        while let Some(prefix) =
            WRAPPERS.iter().find(|prefix| !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(**prefix)))
        {
            let bare = |(name, tensor): (String, Tensor)| (name[prefix.len()..].to_string(), tensor);
            tensors = tensors.into_iter().map(bare).collect();
            notes.push(format!(
                "every name in {} began with `{prefix}`, as a wrapped model saves it; it was removed",
                path.display()
            ));
        }
        if tensors.keys().any(|name| name.starts_with("text_model.") || name.starts_with("vision_model.")) {
            let why = "holds CLIP in the names of Hugging Face's transformers (`text_model.`, `vision_model.`); open_clip's are needed here. \
                       open_clip has the same weights under its own names: python -c \"import open_clip, safetensors.torch as s; \
                       s.save_model(open_clip.create_model('ViT-B-32-quickgelu', pretrained='openai'), 'model.safetensors')\"";
            return Err(wrong(why.into()));
        }
        let from_openai = OPENAI.iter().all(|name| tensors.contains_key(*name));
        if from_openai {
            tensors.retain(|name, _| !OPENAI.contains(&name.as_str()));
        }
        Ok(Checkpoint { path: path.to_path_buf(), tensors, beside: Beside::find(path)?, from_openai, notes })
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a remark if these weights may belong to a model other than `config`; the tensors
    /// alone cannot tell.
    ///
    /// # Errors
    /// If they do belong to another model, since their scores would be meaningless.
    pub fn check(&self, config: &ModelConfig) -> Result<Option<String>> {
        if let Some(beside) = &self.beside {
            beside.check(config)?;
            return Ok(None);
        }
        let named = names::of(config).map_or("the model".to_string(), |name| format!("`{name}`"));
        let twin = names::with_other_activation(config);
        if self.from_openai && !config.quick_gelu {
            let twin = twin.map_or("a configuration with `quick_gelu`".to_string(), |twin| format!("`{twin}`"));
            let why =
                format!("is a release of OpenAI, which was trained with QuickGELU, but {named} has GELU: name {twin}");
            return Err(Error::invalid(self.path.display().to_string(), why));
        }
        let Some(twin) = twin.filter(|_| !self.from_openai) else { return Ok(None) };
        let path = self.path.to_string_lossy().to_lowercase();
        let said = QUICK.iter().find(|part| path.contains(**part)).filter(|_| !config.quick_gelu);
        let hint = said.map_or(String::new(), |part| {
            format!(" Its name says `{part}`, and open_clip lists most such weights as trained with QuickGELU!")
        });
        let (have, other) =
            if config.quick_gelu { ("QuickGELU", "GELU") } else { ("GELU", "QuickGELU, as OpenAI's were") };
        Ok(Some(format!(
            "nothing beside {} says with which activation it was trained, and weights do not show it: {named} computes with {have}. If \
             they were trained with {other}, name `{twin}`.{hint}",
            self.path.display()
        )))
    }
}

impl Clip {
    /// Loads weights that were read. Returns remarks on them.
    ///
    /// # Errors
    /// If they belong to another model: names tensors that are missing, unknown or of another
    /// shape, or the difference to the configuration next to them.
    pub fn load(&self, checkpoint: &Checkpoint) -> Result<Vec<String>> {
        let note = checkpoint.check(&self.config)?;
        self.weights.fit(
            checkpoint.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect(),
            &checkpoint.path.display().to_string(),
        )?;
        Ok(checkpoint.notes.iter().cloned().chain(note).collect())
    }
}

/// The kind of a file, by its first bytes.
enum Kind {
    Safetensors,
    /// As written by `torch.save`.
    Zip,
    /// A file without readable weights: a description and a remedy.
    Other(String),
}

fn kind(path: &Path) -> Result<Kind> {
    let about = std::fs::metadata(path).map_err(Error::io(path))?;
    if about.is_dir() {
        return Ok(Kind::Other(open_clip::describe_folder(path)?));
    }
    let mut start = Vec::new();
    regular::open(path).and_then(|file| file.take(512).read_to_end(&mut start)).map_err(Error::io(path))?;
    let is = |magic: &[u8]| start.starts_with(magic);
    match () {
        () if start.is_empty() => other("is empty"),
        () if is(b"PK\x03\x04") => Ok(Kind::Zip),
        () if is(b"version https://git-lfs") => Ok(Kind::Other(format!(
            "is a git-lfs pointer of {} bytes, not the weights themselves; `git lfs pull` in its repository fetches them",
            about.len()
        ))),
        () if is(b"\x80") && !looks_like_safetensors(&start) => other(
            "is a bare pickle, as PyTorch wrote files before version 1.6; it is not read here. Write it again with a newer PyTorch: \
             torch.save(torch.load('old.pt', weights_only=True), 'new.pt')",
        ),
        () if is(b"\x1f\x8b") => other("is compressed with gzip; unpack it first"),
        () if start.get(257..262) == Some(b"ustar") => other("is a tar archive; unpack it first"),
        () if is(b"\x89HDF") => other("is an HDF5 file, which holds no weights of open_clip's"),
        () if is(b"\x93NUMPY") => other("is a numpy array, not the weights of a model"),
        () if start.trim_ascii_start().starts_with(b"<") => other("is a web page, not weights: the download failed"),
        () if start.trim_ascii_start().starts_with(b"{") => other(
            "is a JSON file, not weights; a model.safetensors.index.json lists parts that must be put together first, a configuration \
             belongs beside the weights",
        ),
        () if looks_like_safetensors(&start) => Ok(Kind::Safetensors),
        () => other(
            "is neither a safetensors file nor one of PyTorch's (`torch.save`): its first bytes are of no known kind",
        ),
    }
}

fn other(why: &str) -> Result<Kind> {
    Ok(Kind::Other(why.into()))
}

/// Eight bytes of length, then a JSON object.
fn looks_like_safetensors(start: &[u8]) -> bool {
    start.get(8) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::files::{read_safetensors, write_safetensors};
    use std::collections::HashMap;
    use tch::Device;

    fn refused(name: &str, contents: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        Checkpoint::read(&path).err().unwrap().to_string()
    }

    #[test]
    fn what_holds_no_weights_is_told_what_it_is() {
        for (contents, words) in [
            (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"[..], "git-lfs pointer of 63 bytes"),
            (b"", "is empty"),
            (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "before version 1.6"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"<!DOCTYPE html>", "web page"),
            (b"{\"metadata\": {}}", "JSON"),
            (b"\x93NUMPY", "numpy"),
            (b"PK\x03\x04 and no more", "zip file that cannot be read"),
            (b"something else", "neither a safetensors file nor"),
        ] {
            let said = refused("model.safetensors", contents);
            assert!(said.contains(words) && said.contains("model.safetensors"), "{said}");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("open_clip_model.safetensors"), "").unwrap();
        let said = Checkpoint::read(folder.path()).err().unwrap().to_string();
        assert!(said.contains("is a folder") && said.contains("/open_clip_model.safetensors"), "{said}");
    }

    /// Files of `tests/golden/checkpoints.py`: a plain model, and a wrapped one within a full
    /// training checkpoint.
    #[test]
    fn what_pytorch_saves_is_read_as_data() {
        let fixtures = crate::golden::folder().join("checkpoints");
        let config = serde_json::json!({
            "embed_dim": 8,
            "vision_cfg": { "image_size": 16, "layers": 1, "width": 8, "head_width": 8, "patch_size": 8 },
            "text_cfg": { "context_length": 8, "vocab_size": 20, "width": 8, "heads": 1, "layers": 1 },
        });
        let config: ModelConfig = serde_json::from_value(config).unwrap();
        for (file, notes) in [("half.pt", 0), ("training.pt", 1)] {
            let model = Clip::new(&config, 1, Device::Cpu).unwrap();
            assert_eq!(model.load(&Checkpoint::read(&fixtures.join(file)).unwrap()).unwrap().len(), notes, "{file}");
            for (number, (name, tensor)) in model.weights.tensors().iter().enumerate() {
                let count = Tensor::arange(tensor.numel() as i64, (tch::Kind::Float, Device::Cpu));
                let expected = (count.remainder(8) / 8 + (number % 4) as i64).reshape(tensor.size());
                assert_eq!(*tensor, expected, "{file}, {name}");
            }
        }
        let small = Checkpoint::read(&fixtures.join("small.pt")).unwrap().tensors;
        let rows = |name: &str| Vec::<Vec<f64>>::try_from(&small[name]).unwrap();
        assert_eq!(
            (rows("w"), rows("across")),
            (vec![vec![0., 1., 2.], vec![3., 4., 5.]], vec![vec![0., 3.], vec![1., 4.], vec![2., 5.]])
        );
        assert_eq!(Vec::<f64>::try_from(&small["part"]).unwrap(), [2., 3., 4.]);
        assert_eq!((small["empty"].size(), small["parameter"].size()), (vec![0, 4], vec![3]));
        for (file, words) in [
            ("code.pt", "`__builtin__.print`"),
            ("script.pt", "TorchScript"),
            ("model.pt", "`torch.nn.modules.linear.Linear`"),
        ] {
            let said = Checkpoint::read(&fixtures.join(file)).err().unwrap().to_string();
            assert!(said.contains(words) && said.contains(file), "{said}");
        }
    }

    /// A truncated file, or one with a changed byte, is read or refused; none crashes the program.
    #[test]
    fn damaged_pytorch_files_are_answered() {
        let whole = std::fs::read(crate::golden::folder().join("checkpoints/model.pt")).unwrap();
        let small = std::fs::read(crate::golden::folder().join("checkpoints/small.pt")).unwrap();
        let read = |bytes: &[u8]| torch_file::read(std::io::Cursor::new(bytes.to_vec()));
        assert!(read(&small).unwrap().contains_key("w") && read(&whole).is_err());
        for end in (0..small.len()).step_by(7) {
            assert!(read(&small[..end]).is_err(), "cut after {end} bytes");
        }
        for place in 0..small.len() {
            for change in [1u8, 0x80, 0xff] {
                let mut bytes = small.clone();
                bytes[place] ^= change;
                let _ = read(&bytes); // an answer, of whatever kind
            }
        }
    }

    #[test]
    fn prefixes_of_wrapped_models_are_left_off_and_told() {
        let folder = tempfile::tempdir().unwrap();
        let (own, wrapped) = (folder.path().join("own.safetensors"), folder.path().join("wrapped.safetensors"));
        let config = ModelConfig::named("tiny").unwrap();
        let model = Clip::new(&config, 1, Device::Cpu).unwrap();
        model.weights.save(&own).unwrap();
        let tensors = read_safetensors(&own).unwrap().0;
        let prefixed =
            tensors.iter().map(|(name, tensor)| (format!("module._orig_mod.{name}"), tensor.copy())).collect();
        write_safetensors(&wrapped, &prefixed, &HashMap::new()).unwrap();
        let other = Clip::new(&config, 2, Device::Cpu).unwrap();
        let notes = other.load(&Checkpoint::read(&wrapped).unwrap()).unwrap();
        assert!(notes[0].contains("`module.`") && notes[1].contains("`_orig_mod.`"), "{notes:?}");
        assert_eq!(other.weights.state(), model.weights.state());
        let mixed = tensors.iter().map(|(name, tensor)| {
            (format!("{}{name}", if name.len() % 2 == 0 { "module." } else { "" }), tensor.copy())
        });
        write_safetensors(&wrapped, &mixed.collect(), &HashMap::new()).unwrap();
        let said = other.load(&Checkpoint::read(&wrapped).unwrap()).unwrap_err().to_string();
        assert!(said.contains("is missing") && said.contains("`module."), "{said}");
    }

    #[test]
    fn the_activation_is_told_where_it_is_known_and_asked_for_where_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rn50-quickgelu-yfcc15m.safetensors");
        let number = |value: i64| Tensor::from(value);
        let of_openai = OPENAI.map(|name| (name.to_string(), number(1)));
        write_safetensors(&path, &BTreeMap::from(of_openai), &HashMap::new()).unwrap();
        let (plain, quick) = (ModelConfig::named("RN50").unwrap(), ModelConfig::named("RN50-quickgelu").unwrap());
        let openai = Checkpoint::read(&path).unwrap();
        let said = openai.check(&plain).unwrap_err().to_string();
        assert!(said.contains("a release of OpenAI") && said.contains("name `RN50-quickgelu`"), "{said}");
        assert_eq!(openai.check(&quick).unwrap(), None);
        let unknown = Checkpoint { from_openai: false, ..openai };
        let note = unknown.check(&plain).unwrap().unwrap();
        assert!(note.contains("name `RN50-quickgelu`.") && note.contains("Its name says `quickgelu`"), "{note}");
        let note = unknown.check(&quick).unwrap().unwrap();
        assert!(note.contains("name `RN50`.") && !note.contains("Its name says"), "{note}");
        assert_eq!(unknown.check(&ModelConfig::named("tiny").unwrap()).unwrap(), None, "it has no twin");
    }
}
