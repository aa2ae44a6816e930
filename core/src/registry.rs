//! Plugins: a plugin is a struct that is its own configuration, registered by name in the registry
//! of its role. Read `attack.rs`, `defense.rs` and `evaluator.rs` for the methods of each role,
//! `registry/preset.rs` for named configurations, `registry/origin.rs` for where plugins come from,
//! `library.rs` for plugins loaded at run time.

mod configured;
pub mod origin;
pub mod preset;

pub use configured::{Configured, is_label};
pub use origin::Origin;
pub use preset::{Preset, PresetField};

use crate::error::from_json;
use crate::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// A registered plugin of role `T` (`dyn Attack`, `dyn Defense` or `dyn Evaluator`).
///
/// [`register!`](crate::register) makes it. Configuration is passed as JSON text, so that a plugin
/// of a separately built library can be loaded.
pub struct Plugin<T: ?Sized + 'static> {
    /// Kebab-case, unique within its role; `LIBRARY/NAME` for a loaded plugin.
    pub name: &'static str,
    /// One-line description.
    pub summary: &'static str,
    /// Source of the method: authors, venue, section; empty for our own.
    pub paper: &'static str,
    /// The JSON schema of its configuration, from the struct's doc comments.
    pub schema: fn() -> String,
    /// The default configuration, as JSON.
    pub defaults: fn() -> String,
    /// Its presets, as a JSON list of [`Preset`]; most plugins have none.
    pub presets: fn() -> String,
    /// Completes a configuration with defaults, nested tables included. Arguments: the name for
    /// error messages, and JSON.
    pub complete: fn(&str, &str) -> Result<String>,
    /// Builds the plugin from a complete configuration. Arguments: the name for error messages, and
    /// JSON.
    pub build: fn(&str, &str) -> Result<Box<T>>,
}

impl<T: ?Sized> Plugin<T> {
    /// Completes a configuration in JSON with defaults, nested tables included.
    pub fn complete(&self, json: &str) -> Result<String> {
        (self.complete)(self.name, json)
    }

    /// Builds the plugin from a complete configuration in JSON, inside a guard: see
    /// `library/guard.rs`.
    pub fn build(&self, json: &str) -> Result<Box<T>> {
        (self.build)(self.name, json)
    }

    /// The library that it was loaded from; `None` if it is linked.
    pub fn library(&self) -> Option<&'static origin::Library> {
        origin::of(self.name)
    }
}

/// A crate, by its Rust name, whose plugins are linked into this program.
pub struct Package(pub &'static str);

inventory::collect!(Package);

/// A role of plugins; each of the three has its own registry.
pub trait Role: 'static {
    /// `"attack"`, `"defense"` or `"evaluator"`.
    const KIND: &'static str;
    /// Every plugin linked into this program (or, inside a plugin's library, into that library), in
    /// no order.
    fn linked() -> Vec<&'static Plugin<Self>>;
    /// Every plugin loaded into this program.
    fn loaded() -> Vec<&'static Plugin<Self>>;
    /// Puts a guard around a plugin.
    fn guard(name: &str, plugin: Box<Self>) -> Result<Box<Self>>;
}

/// Registers a plugin: `register!(dyn Attack, BadNet, "badnet", "stamps a patch ...", "Gu et al.
/// 2017")`.
///
/// The struct is its configuration: it implements `Serialize`, `Deserialize` (with `default` and
/// `deny_unknown_fields`), `JsonSchema` and `Default`. It has no field `plugin`, `preset` or `of`:
/// a suite uses these keys itself. An optional sixth argument, `presets = FUNCTION`, names a
/// function without arguments that returns a `Vec` of [`Preset`](crate::registry::Preset), each
/// with a value for every field.
///
/// ```
/// use gauntlet::schemars::JsonSchema;
/// use gauntlet::serde::{Deserialize, Serialize};
/// use gauntlet::{Defense, registry};
///
/// /// Trains as CLIP does.
/// #[derive(Default, Serialize, Deserialize, JsonSchema)]
/// #[serde(crate = "gauntlet::serde", default, deny_unknown_fields)]
/// #[schemars(crate = "gauntlet::schemars")]
/// struct Mine {
///     /// Epochs before it begins.
///     after: u32,
/// }
///
/// impl Defense for Mine {}
///
/// gauntlet::register!(dyn Defense, Mine, "mine", "does nothing", "");
///
/// let plugin = registry::find::<dyn Defense>("mine")?;
/// assert!(plugin.build(r#"{ "after": 2 }"#).is_ok());
/// assert!(plugin.build(r#"{ "aftr": 2 }"#).is_err());
/// # Ok::<(), gauntlet::Error>(())
/// ```
#[macro_export]
macro_rules! register {
    ($role:ty, $config:ty, $name:literal, $summary:literal, $paper:literal) => {
        $crate::register!($role, $config, $name, $summary, $paper, presets = Vec::new);
    };
    ($role:ty, $config:ty, $name:literal, $summary:literal, $paper:literal, presets = $presets:expr) => {
        $crate::inventory::submit! { $crate::registry::Package(env!("CARGO_CRATE_NAME")) }
        $crate::inventory::submit! {
            $crate::registry::Plugin::<$role> {
                name: $name,
                summary: $summary,
                paper: $paper,
                schema: $crate::registry::schema_of::<$config>,
                defaults: $crate::registry::defaults_of::<$config>,
                presets: || $crate::registry::presets_of($presets()),
                complete: |name, json| {
                    $crate::library::guard::run(name, "serde", || $crate::registry::complete_of::<$config>(name, json))
                },
                build: |name, json| {
                    $crate::library::guard::build::<$role>(name, || Ok(Box::new($crate::registry::parse::<$config>(name, json)?)))
                },
            }
        }
    };
}

/// Every plugin of a role, sorted by name.
///
/// # Errors
/// If two plugins have the same name.
pub fn all<T: Role + ?Sized>() -> Result<Vec<&'static Plugin<T>>> {
    let mut plugins = [T::linked(), T::loaded()].concat();
    plugins.sort_by_key(|plugin| plugin.name);
    if let Some(twin) = plugins.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(Error::invalid(format!("{} `{}`", T::KIND, twin[0].name), "registered twice"));
    }
    Ok(plugins)
}

/// Finds a plugin by name.
///
/// # Errors
/// If the name is unknown; the error lists the known names and suggests the closest.
pub fn find<T: Role + ?Sized>(name: &str) -> Result<&'static Plugin<T>> {
    let plugins = all::<T>()?;
    let known = || plugins.iter().map(|plugin| plugin.name.to_string()).collect();
    let found = plugins.iter().find(|plugin| plugin.name == name).copied();
    if let (None, Some((library, _)), None) = (found, name.split_once('/'), origin::of(name)) {
        let why = format!("its library is not loaded; give it: --plugin PATH/lib{}.so", library.replace('-', "_"));
        return Err(Error::invalid(format!("plugin `{name}`"), why));
    }
    found.ok_or_else(|| Error::Unknown { kind: T::KIND, name: name.to_string(), known: known() })
}

/// The presets of a plugin, in the plugin's order.
pub fn presets<T: Role + ?Sized>(plugin: &Plugin<T>) -> Vec<Preset> {
    serde_json::from_str(&(plugin.presets)()).expect("presets are a JSON list of presets")
}

/// Applies `config` over the preset it names, completes it with the plugin's defaults and checks it
/// against its schema: known keys, numbers within their ranges.
///
/// Returns the complete configuration, which a resolved trial stores.
pub fn resolve<T: Role + ?Sized>(plugin: &Plugin<T>, config: &Map<String, Value>) -> Result<Map<String, Value>> {
    let config = preset::expand(config, &presets(plugin))
        .map_err(|error| error.during(format!("{} `{}`", T::KIND, plugin.name)))?;
    let what = |key: &str| format!("{} `{}`, key `{key}`", T::KIND, plugin.name);
    let schema: Value = serde_json::from_str(&(plugin.schema)()).expect("a schema is JSON");
    let defaults: Map<String, Value> = serde_json::from_str(&(plugin.defaults)()).expect("defaults are a JSON object");
    for (key, value) in &config {
        // The serialized defaults may omit a key at its default value, so that adding a key does
        // not change the identity of older trials.
        if schema["properties"].get(key).is_none() {
            let known = schema["properties"].as_object().into_iter().flat_map(Map::keys).cloned().collect();
            let unknown = Error::Unknown { kind: "key", name: key.clone(), known };
            return Err(unknown.during(format!("{} `{}`", T::KIND, plugin.name)));
        }
        check_range(&schema, &schema["properties"][key], value).map_err(|why| Error::invalid(what(key), why))?;
    }
    // A partial nested table keeps the rest of the plugin's defaults, not of its own type's.
    let mut full = defaults;
    preset::lay_over(&mut full, config);
    let full = plugin.complete(&Value::Object(full).to_string())?;
    Ok(serde_json::from_str(&full).expect("a configuration is a JSON object"))
}

/// Checks that numbers (also in lists and nested tables) are within the schema's `minimum` and
/// `maximum`.
fn check_range(root: &Value, field: &Value, value: &Value) -> Result<(), String> {
    let field = match field["$ref"].as_str() {
        Some(pointer) => root.pointer(pointer.trim_start_matches('#')).unwrap_or(&Value::Null),
        None => field,
    };
    if let Some(number) = value.as_f64() {
        let (low, high) = (field["minimum"].as_f64(), field["maximum"].as_f64());
        if low.is_some_and(|low| number < low) || high.is_some_and(|high| number > high) {
            let side = |bound: Option<f64>, name| bound.map(|bound| format!(" {name} {bound}")).unwrap_or_default();
            return Err(format!("{number} is out of range (allowed:{}{})", side(low, "from"), side(high, "to")));
        }
    }
    let items = value.as_array().into_iter().flatten().try_for_each(|item| check_range(root, &field["items"], item));
    let nested = value.as_object().into_iter().flatten();
    items.and_then(|()| {
        nested.into_iter().try_for_each(|(key, inner)| {
            check_range(root, &field["properties"][key], inner).map_err(|why| format!("`{key}`: {why}"))
        })
    })
}

/// For [`register!`](crate::register): the schema of a configuration struct, as JSON.
pub fn schema_of<C: schemars::JsonSchema>() -> String {
    schemars::schema_for!(C).as_value().to_string()
}

/// For [`register!`](crate::register): the default configuration, as JSON.
pub fn defaults_of<C: Default + Serialize>() -> String {
    serde_json::to_string(&C::default()).expect("a configuration is plain data")
}

/// For [`register!`](crate::register): presets, as JSON.
pub fn presets_of(presets: Vec<Preset>) -> String {
    serde_json::to_string(&presets).expect("a preset is plain data")
}

/// For [`register!`](crate::register): a configuration completed with every default, as JSON.
pub fn complete_of<C: DeserializeOwned + Serialize>(name: &str, json: &str) -> Result<String> {
    Ok(serde_json::to_string(&parse::<C>(name, json)?).expect("a configuration is plain data"))
}

/// For [`register!`](crate::register): parses a configuration struct from JSON; the error names the
/// plugin.
pub fn parse<C: DeserializeOwned>(name: &str, json: &str) -> Result<C> {
    let place = format!("configuration of `{name}`");
    let value = serde_json::from_str(json).map_err(|error| Error::invalid(&place, error.to_string()))?;
    from_json(value, &place)
}
