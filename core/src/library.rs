//! Plugins loaded at run time, and the guard around every plugin. `library/dynamic.rs` opens a
//! library, `library/handshake.rs` holds what both sides compare before any call,
//! `library/guard.rs` turns a panic into an error that names the plugin.

mod dynamic;
pub mod guard;
pub mod handshake;

use crate::registry::origin::{self, Library};
use crate::registry::{Plugin, Role};
use crate::{Attack, Defense, Error, Evaluator, Result};
use std::path::Path;
use std::sync::Mutex;

/// A library and its plugins.
struct Loaded {
    library: Library,
    attacks: Vec<Plugin<dyn Attack>>,
    defenses: Vec<Plugin<dyn Defense>>,
    evaluators: Vec<Plugin<dyn Evaluator>>,
}

/// Append-only: plugins are looked up by name anywhere in the program.
static LOADED: Mutex<Vec<&'static Loaded>> = Mutex::new(Vec::new());

fn loaded() -> Vec<&'static Loaded> {
    LOADED.lock().expect("nothing panics while it is locked").clone()
}

macro_rules! role {
    ($role:ty, $kind:ident, $kinds:ident) => {
        crate::inventory::collect!(Plugin<$role>);
        impl Role for $role {
            const KIND: &'static str = stringify!($kind);
            fn linked() -> Vec<&'static Plugin<Self>> {
                crate::inventory::iter::<Plugin<$role>>().collect()
            }
            fn loaded() -> Vec<&'static Plugin<Self>> {
                loaded().into_iter().flat_map(|library| &library.$kinds).collect()
            }
            fn guard(name: &str, plugin: Box<Self>) -> Result<Box<Self>> {
                guard::$kind(name, plugin)
            }
        }
    };
}
role!(dyn Attack, attack, attacks);
role!(dyn Defense, defense, defenses);
role!(dyn Evaluator, evaluator, evaluators);

/// Loads a library of plugins. They are then available like linked plugins, as `LIBRARY/PLUGIN`.
///
/// # Errors
/// If the file is not a library of plugins, does not fit this program, or is already loaded.
pub fn load(path: &Path) -> Result<()> {
    let place = |error: Error| error.during(format!("--plugin {}", path.display()));
    let file = path.canonicalize().map_err(|error| place(Error::io(path)(error)))?;
    let name = origin::name(path);
    let wrong = |why: String| Err(Error::invalid(format!("--plugin {}", path.display()), why));
    match origin::loaded().iter().find(|library| library.name == name || library.path == file) {
        Some(twin) if twin.path == file => return wrong("is given twice; give it once".into()),
        Some(twin) => {
            let twin = twin.path.display();
            return wrong(format!("its plugins would be named `{name}/...`, as those of {twin} are; rename the file"));
        }
        None => {}
    }
    let library = dynamic::open(path, &file, name).map_err(place)?;
    let loaded: &'static Loaded = Box::leak(Box::new(library));
    LOADED.lock().expect("nothing panics while it is locked").push(loaded);
    origin::add(&loaded.library);
    tracing::info!("library of plugins loaded: {}", file.display());
    Ok(())
}
