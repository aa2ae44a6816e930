//! Opens the source that a `[data]` table describes, with the one beside it that is held out.

use crate::config::DataConfig;
use crate::source::Source;
use crate::validation::beside;
use crate::{Error, Result};
use std::sync::Arc;

impl DataConfig {
    /// Opens the source: checks paths and columns, reads no row.
    ///
    /// # Errors
    /// If a path or a column is not there; one of the source that is held out is told as that of `validation`.
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

/// A source that is held out.
///
/// # Errors
/// If it cannot be opened, is no shards and no table, holds a source out itself, or names classes of its own.
fn held_out(config: &DataConfig) -> Result<Arc<dyn Source>> {
    if !matches!(config, DataConfig::Webdataset(_) | DataConfig::Csv(_)) {
        return Err(Error::invalid("key `kind`", "must be `webdataset` or `csv`"));
    }
    if config.validation().is_some() {
        return Err(Error::invalid("key `validation`", "is not for a source that is held out itself"));
    }
    let source = config.open()?;
    if source.classes()?.is_some() {
        return Err(Error::invalid(
            "key `class_file`",
            "is that of `[data]`, or of the suite's key `classes`: leave it out here",
        ));
    }
    Ok(source)
}
