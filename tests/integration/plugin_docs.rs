//! The commands of `docs/plugin.md`, run in an empty folder outside the repository; and the crates
//! that `gauntlet new` writes.

use crate::program::{Ran, argument, folder, gauntlet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Features that the program requires of crates that a plugin also depends on. With them, cargo
/// reuses the program's builds of these crates.
const SHARED: &str = "
[dependencies.zip]
version = \"9\"
default-features = false
features = [\"deflate-flate2\"]
[dependencies.md-5]
version = \"0.11\"
[dependencies.zeroize]
version = \"1\"
features = [\"zeroize_derive\"]
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lines of the document's ```sh blocks.
fn commands() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/plugin.md")).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_string());
    blocks.flat_map(|block| block.lines().map(str::to_string).collect::<Vec<_>>()).collect()
}

/// The document's ```rust block that contains `part`: its `use` lines, and the rest.
fn block(part: &str) -> [String; 2] {
    let text = fs::read_to_string(root().join("docs/plugin.md")).unwrap();
    let mut blocks = text.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let block = blocks.find(|block| block.contains(part)).unwrap_or_else(|| panic!("no block has {part}"));
    let (uses, rest): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with("use "));
    [uses, rest].map(|lines| lines.join("\n"))
}

/// A module that holds the document's Rust blocks, each where its reader would paste it.
fn pasted() -> String {
    let [attack, place, loss, test, evaluator] =
        ["fn poison(", "fn place(", "fn loss(", "GivenStep::new", "fn evaluate("].map(block);
    format!(
        "
#[allow(dead_code)]
mod page {{
    mod attack {{
        use crate::*;
        {} {}
        struct Mine {{ poison: Backdoor }}
        impl Attack for Mine {{
            fn goal(&self, ctx: &PoisonCtx) -> Result<Goal> {{ self.poison.goal(ctx) }}
            {}
        }}
        {}
    }}
    mod defense {{
        use gauntlet::tch::{{Kind, Tensor}};
        use gauntlet::{{Defense, Result, Step}};
        {}
        #[derive(Default)]
        struct Mine;
        impl Defense for Mine {{ {} }}
        {}
    }}
    mod evaluator {{
        use gauntlet::evaluator::{{Definition, Unit}};
        use gauntlet::{{DataRow, EvalContext, Evaluator, Result, Score}};
        struct Mine;
        impl Evaluator for Mine {{ {} }}
    }}
}}
",
        attack[0], place[0], attack[1], place[1], test[0], loss[1], test[1], evaluator[1]
    )
}

/// A string of the repository's own `.cargo/config.toml`: with equal flags, cargo need not build
/// dependencies again.
fn rustflags() -> String {
    let config: toml::Table = fs::read_to_string(root().join(".cargo/config.toml")).unwrap().parse().unwrap();
    config["target"]["x86_64-unknown-linux-gnu"]["rustflags"][0].as_str().unwrap().to_string()
}

/// Runs a line of the document in a shell. The crate is built in the repository's target folder,
/// which already has its dependencies.
fn shell(folder: &Path, line: &str) -> Ran {
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_path_buf();
    let bin = Path::new(env!("CARGO_BIN_EXE_gauntlet")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", line]).current_dir(folder).env("PATH", path).env("OMP_WAIT_POLICY", "passive");
    shell.env("CARGO_TARGET_DIR", target).env("RUSTFLAGS", rustflags());
    // cargo sets variables about the package of its tests.
    std::env::vars_os().map(|(key, _)| key).filter(|key| key.to_string_lossy().starts_with("CARGO_PKG_")).for_each(
        |key| {
            shell.env_remove(key);
        },
    );
    shell.env_remove("CARGO_MANIFEST_DIR");
    let output = shell.stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn what_the_page_says_is_so() {
    let home = tempfile::tempdir().unwrap();
    let mut folder = home.path().to_path_buf();
    let mut said = String::new();
    for line in commands() {
        if let Some(inner) = line.strip_prefix("cd ") {
            folder.push(inner);
            let manifest = folder.join("Cargo.toml");
            fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + SHARED).unwrap();
            let tests = folder.join("src/tests.rs");
            fs::write(&tests, fs::read_to_string(&tests).unwrap() + &pasted()).unwrap();
            std::os::unix::fs::symlink(Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap(), folder.join("target"))
                .unwrap();
            continue;
        }
        let ran = shell(&folder, &line);
        assert_eq!(ran.code, Some(0), "{line}\n{}\n{}", ran.stdout, ran.stderr);
        said += &ran.stdout;
    }
    for part in [
        "cargo build --release",
        "it_holds_what_every_plugin_must ... ok",
        "pairs_that_do_not_fit_are_left_out ... ok",
        "arena poisoned (frame)",
        "asr",
        "mine/frame (attack)",
    ] {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!an_attack_failed(&said), "{said}");
    let schema = fs::read_to_string(folder.join("schema.json")).unwrap();
    assert!(schema.contains("Width of the frame in pixels.") && schema.contains("\"mine/frame\""));
}

/// The content of the crates is tested in `examples/`; this test checks that they are complete and
/// have their own name.
fn an_attack_failed(table: &str) -> bool {
    table.lines().any(|line| line.contains("attack failed") && !line.starts_with("attack failed:"))
}

/// The suites of the other two crates, without the plugin that they are for: it needs a build of its own.
#[test]
fn the_suites_to_start_from_show_an_attack_that_works_on_plain_clip() {
    let suite = |role: &str, plugin: &str| {
        let mut suite: toml::Table =
            fs::read_to_string(root().join(format!("examples/plugin-{role}/suite.toml"))).unwrap().parse().unwrap();
        let kind = suite[&format!("{role}s")].as_table_mut().unwrap();
        assert!(kind.remove(plugin).is_some());
        suite
    };
    let (suite, other) = (suite("defense", "trim"), suite("evaluator", "among"));
    for part in ["data", "recipe", "attacks", "arenas", "model"] {
        assert_eq!(suite[part], other[part], "one run stands for both");
    }
    let home = folder("suites-to-start-from");
    let (file, out) = (home.join("suite.toml"), home.join("out"));
    fs::write(&file, suite.to_string()).unwrap();
    let ran = gauntlet(&["run", argument(&file), "--out", argument(&out)]);
    assert!(ran.code == Some(0) && !an_attack_failed(&ran.stdout), "{ran:?}");
}

/// Everything in the crates is checked where it comes from, `examples/`; here, that they are whole
/// and under their own name.
#[test]
fn every_role_has_a_crate_to_start_from() {
    let home = tempfile::tempdir().unwrap();
    for role in ["attack", "defense", "evaluator"] {
        let name = format!("my-own-{role}");
        let ran = gauntlet(&["new", role, &name, "--path", argument(home.path())]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains(&format!("--plugin target/release/libmy_own_{role}.so")), "{}", ran.stdout);
        let read = |file: &str| fs::read_to_string(home.path().join(&name).join(file)).unwrap();
        let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
        assert_eq!(manifest["package"]["name"].as_str(), Some(name.as_str()));
        let core = manifest["dependencies"]["gauntlet"]["path"].as_str().unwrap();
        assert!(Path::new(core).is_absolute() && Path::new(core).join("src/registry.rs").exists());
        let config: toml::Table = read(".cargo/config.toml").parse().unwrap();
        let libtorch = config["env"]["LIBTORCH"].as_str().unwrap();
        assert!(Path::new(libtorch).join("include/torch").is_dir());
        assert!(read("suite.toml").contains(&format!("plugin = \"{name}/")), "{}", read("suite.toml"));
        let all = ["src/lib.rs", "src/tests.rs", "suite.toml", "README.md", "Cargo.toml"].map(read).concat();
        assert!(!all.contains("gauntlet-example") && !all.contains("gauntlet_example"));
        let ran = gauntlet(&["new", role, &name, "--path", argument(home.path())]);
        assert!(ran.code == Some(2) && ran.stderr.contains("already exists"), "{}", ran.stderr);
    }
    for (name, why) in
        [("My_Plugin", "kebab-case"), ("a--b", "kebab-case"), ("gauntlet-mine", "is taken"), ("core", "is taken")]
    {
        let ran = gauntlet(&["new", "attack", name, "--path", argument(home.path())]);
        assert!(ran.code == Some(2) && ran.stderr.contains(why), "{}", ran.stderr);
    }
}
