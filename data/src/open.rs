//! Opens the source that a `[data]` table describes, together with its held-out source.

use crate::config::DataConfig;
use crate::source::Source;
use crate::validation::beside;
use crate::{Error, Result};
use std::sync::Arc;

impl DataConfig {
    /// Opens the source: checks paths and columns, reads no row.
    ///
    /// # Errors
    /// If a path or a column does not exist; an error of the held-out source names `validation`.
    pub fn open(&self) -> Result<Arc<dyn Source>> {
        let train: Arc<dyn Source> = match self {
            DataConfig::World(world) => Arc::new(world.open()?),
            DataConfig::Webdataset(shards) => Arc::new(shards.open()?),
            DataConfig::Csv(table) => Arc::new(table.open()?),
            DataConfig::Labelled(set) => Arc::new(set.open()?),
        };
        match self.validation() {
            Some(other) => held_out(other)
                .map(|other| beside(train, other))
                .map_err(|error| error.during("table `data.validation`")),
            None => Ok(train),
        }
    }
}

/// Opens a held-out source.
///
/// # Errors
/// If it cannot be opened, is neither shards nor a table, has a held-out source itself, or names
/// its own classes.
fn held_out(config: &DataConfig) -> Result<Arc<dyn Source>> {
    if !matches!(config, DataConfig::Webdataset(_) | DataConfig::Csv(_)) {
        return Err(Error::invalid("key `kind`", "must be `webdataset` or `csv`"));
    }
    if config.validation().is_some() {
        return Err(Error::invalid("key `validation`", "is not allowed in a held-out source"));
    }
    let source = config.open()?;
    if source.classes()?.is_some() {
        return Err(Error::invalid(
            "key `class_file`",
            "is not allowed here: set it in `[data]`, or use the suite's key `classes`",
        ));
    }
    Ok(source)
}
