//! `gauntlet new`: writes a crate with a working plugin as a starting point. It is one of the
//! crates in `examples/`, which the tests build, under another name. The surrounding files are
//! generated, so that it builds anywhere on this machine and fits this program.

mod suite;

use crate::exit::Exit;
use crate::say;
use clap::{Args, ValueEnum};
use gauntlet::{Error, Result, build};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes a crate with a plugin, or a suite for your own pairs.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gauntlet new suite mine.toml --data pairs.csv          # a table with a column of image paths and one of captions
  gauntlet new suite mine.toml --data shards             # a folder of img2dataset's shards
  gauntlet new attack mine                               # a crate with an attack that builds and runs")]
pub struct New {
    /// What to write
    role: Role,
    /// For a suite: its file. For a plugin: name of the crate and of its folder, in kebab-case; a
    /// suite names its plugins NAME/...
    name: String,
    /// Folder for the new file or crate
    #[arg(long, default_value = ".")]
    path: PathBuf,
    /// For a suite: the pairs, a CSV or TSV file or a folder of shards
    #[arg(long, required_if_eq("role", "suite"))]
    data: Option<PathBuf>,
    /// For a suite: the classes that attacks aim at, a downstream set's by name or a class file
    /// (.json)
    #[arg(long, default_value = "imagenet")]
    classes: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    Attack,
    Defense,
    Evaluator,
    Suite,
}

/// A crate of `examples/`.
struct Template {
    name: &'static str,
    files: [(&'static str, &'static str); 3],
}

impl Role {
    /// The example that a plugin of this role starts from; `None` for a suite.
    fn template(self) -> Option<Template> {
        Some(match self {
            Role::Suite => return None,
            Role::Attack => Template {
                name: "gauntlet-example",
                files: [
                    ("src/lib.rs", include_str!("../examples/plugin/src/lib.rs")),
                    ("src/tests.rs", include_str!("../examples/plugin/src/tests.rs")),
                    ("suite.toml", include_str!("../examples/plugin/suite.toml")),
                ],
            },
            Role::Defense => Template {
                name: "gauntlet-example-defense",
                files: [
                    ("src/lib.rs", include_str!("../examples/plugin-defense/src/lib.rs")),
                    ("src/tests.rs", include_str!("../examples/plugin-defense/src/tests.rs")),
                    ("suite.toml", include_str!("../examples/plugin-defense/suite.toml")),
                ],
            },
            Role::Evaluator => Template {
                name: "gauntlet-example-evaluator",
                files: [
                    ("src/lib.rs", include_str!("../examples/plugin-evaluator/src/lib.rs")),
                    ("src/tests.rs", include_str!("../examples/plugin-evaluator/src/tests.rs")),
                    ("suite.toml", include_str!("../examples/plugin-evaluator/suite.toml")),
                ],
            },
        })
    }
}

/// The origin of this program: its sources, and the libtorch that it was built with.
struct Origin {
    sources: PathBuf,
    libtorch: PathBuf,
}

impl New {
    /// Writes the crate and prints the next steps.
    pub fn run(self) -> Result<Exit> {
        let Some(template) = self.role.template() else {
            let data = self.data.as_deref().expect("clap asks for it");
            return suite::write(&self.path.join(&self.name), data, &self.classes).map(|()| Exit::Done);
        };
        check_name(&self.name)?;
        let folder = self.path.join(&self.name);
        if folder.exists() {
            return Err(Error::invalid(folder.display().to_string(), "already exists; choose another name, or --path"));
        }
        let origin = Origin::find()?;
        let Template { name: old, files } = template;
        let old_crate = old.replace('-', "_");
        let own =
            files.map(|(file, text)| (file, text.replace(old, &self.name).replace(&old_crate, &self.crate_name())));
        let around = [
            ("Cargo.toml", self.manifest(&origin)),
            ("Cargo.lock", include_str!("../Cargo.lock").to_string()),
            (".cargo/config.toml", config(&origin)),
            (".gitignore", "/target/\n/out/\n".to_string()),
            ("README.md", self.readme()),
        ];
        let toolchain = toolchain().map(|text| ("rust-toolchain.toml", text));
        for (file, text) in own.into_iter().chain(around).chain(toolchain) {
            write(&folder.join(file), &text)?;
        }
        say(&format!("wrote {}. Next:\n\n    cd {}\n{}", folder.display(), folder.display(), self.commands()));
        Ok(Exit::Done)
    }

    fn crate_name(&self) -> String {
        self.name.replace('-', "_")
    }

    fn manifest(&self, origin: &Origin) -> String {
        format!(
            r#"[package]
name = "{}"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib", "rlib"]   # loaded by --plugin, or linked into a custom program

[dependencies]
# serde, schemars and tch come from it: gauntlet::serde and so on are the very versions that the program has.
gauntlet = {{ path = {:?}, version = "={}" }}

[workspace]   # its own, in any folder
"#,
            self.name,
            origin.sources.join("core"),
            env!("CARGO_PKG_VERSION")
        )
    }

    fn commands(&self) -> String {
        format!(
            "    cargo test --release\n    cargo build --release\n    gauntlet run suite.toml --plugin target/release/lib{}.so --out out\n",
            self.crate_name()
        )
    }

    fn readme(&self) -> String {
        let what = match self.role {
            Role::Attack => "An attack",
            Role::Defense => "A defense",
            Role::Evaluator => "An evaluator",
            Role::Suite => unreachable!("a suite is no crate"),
        };
        format!("# {}\n\n{what} for gauntlet: `src/lib.rs` is all of it.\n\n{}", self.name, self.commands())
    }
}

/// Checks a crate's name, which is also part of the names of its plugins.
fn check_name(name: &str) -> Result<()> {
    let wrong = |why: &str| Err(Error::invalid(format!("name `{name}`"), why));
    match () {
        () if !name.split('-').all(is_word) => wrong("must be kebab-case: lower-case words, digits, single dashes"),
        // cargo would confuse it with another crate, or with the standard library.
        () if ["core", "std", "alloc", "test", "proc-macro"].contains(&name) || name.starts_with("gauntlet") => {
            wrong("is taken by Rust or by gauntlet itself; choose another")
        }
        () => Ok(()),
    }
}

fn is_word(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(plain)
}

impl Origin {
    fn find() -> Result<Origin> {
        let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let manifest = fs::read_to_string(sources.join("Cargo.toml")).unwrap_or_default();
        let what = format!("sources in {}", sources.display());
        if !sources.join("core/Cargo.toml").is_file() {
            let why = "are gone, and a plugin is built against them; build gauntlet where its sources can stay, then use that one";
            return Err(Error::invalid(what, why));
        }
        if !manifest.contains(&format!("\nversion = \"{}\"\n", env!("CARGO_PKG_VERSION"))) {
            let why = format!("are no longer those of this gauntlet {}; build it again", env!("CARGO_PKG_VERSION"));
            return Err(Error::invalid(what, why));
        }
        let built_with = option_env!("LIBTORCH").unwrap_or("libtorch");
        let found =
            [built_with, "libtorch"].into_iter().find(|folder| sources.join(folder).join("include/torch").is_dir());
        let Some(libtorch) = found else {
            let why = format!("`make setup` in {} brings one", sources.display());
            return Err(Error::invalid("the libtorch that gauntlet was built with is gone", why));
        };
        // Links are not resolved: torch-sys would be built again for another path to the same
        // libtorch.
        Ok(Origin { libtorch: sources.join(libtorch), sources })
    }
}

/// The compiler that built this program: libraries of another compiler do not fit. `None` for a
/// nightly, which only its date would identify.
fn toolchain() -> Option<String> {
    let release = build::RUSTC.split(' ').next().unwrap_or_default();
    let why = "# The compiler that built gauntlet: libraries of another compiler do not fit.";
    (!release.contains('-')).then(|| format!("{why}\n[toolchain]\nchannel = \"{release}\"\n"))
}

fn config(origin: &Origin) -> String {
    let lib = origin.libtorch.join("lib");
    format!(
        r#"# The libtorch that gauntlet was built with. A LIBTORCH set in the environment wins.
[env]
LIBTORCH = {:?}

# So that tests find it. RUNPATH (not RPATH): LD_LIBRARY_PATH can still choose another.
[target.x86_64-unknown-linux-gnu]
rustflags = ["-Clink-arg=-Wl,--enable-new-dtags,-rpath,{}"]
"#,
        origin.libtorch,
        lib.display()
    )
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().expect("a file lies in a folder");
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    fs::write(path, text).map_err(Error::io(path))
}
